import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Fault, healed } from '../fault.ts';

/** A small disk of its own: an ext4 file system in a file. */
export interface SmallDisk {
  path: string;
  fault: Fault;
  unmount(): void;
}

const SIZE_BYTES = 1_536 * 1024 * 1024;
const PIECE = new Uint8Array(1024 * 1024);

/** Null where nothing can be mounted, with the reason on `onSkipped`. Needs root. */
export function mountSmallDisk(folder: string, onSkipped: (why: string) => void): SmallDisk | null {
  const [file, path] = [join(folder, 'disk.img'), join(folder, 'disk')];
  closeSync(openSync(file, 'w'));
  truncateSync(file, SIZE_BYTES);
  mkdirSync(path, { mode: 0o755 });
  for (const [command, ...args] of [
    // No blocks are kept back for root, who would go on writing.
    ['mkfs.ext4', '-q', '-m', '0', file],
    ['mount', '-o', 'loop', file, path],
  ] as const) {
    const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8' });
    if (status === 0) continue;
    onSkipped(`disk full: ${command} does not work here (${error?.message ?? stderr.trim()})`);
    return null;
  }
  return {
    path,
    fault: diskFault(path),
    unmount: () => void spawnSync('umount', ['--lazy', path]),
  };
}

function diskFault(path: string): Fault {
  const filler = join(path, 'filler');
  return {
    name: 'disk full',
    targets: ['disk'],
    holdMs: [3_000, 8_000],
    async inject() {
      fill(filler, path);
      // What is deleted meanwhile must not make room again.
      const again = setInterval(() => fill(filler, path), 500);
      return async () => {
        clearInterval(again);
        rmSync(filler, { force: true });
        return healed();
      };
    },
  };
}

/** Appends until nothing more goes in. */
function fill(filler: string, path: string): void {
  const { bavail, bsize } = statfsSync(path);
  const reserved = spawnSync('fallocate', [
    ...['--posix', '--offset', '0', '--length'],
    ...[String(sizeOf(filler) + bavail * bsize), filler],
  ]);
  if (reserved.status === 0) return;
  const file = openSync(filler, 'a');
  try {
    while (writeSync(file, PIECE) > 0);
  } catch {
    // No space left on the device.
  } finally {
    closeSync(file);
  }
}

function sizeOf(file: string): number {
  return Bun.file(file).size;
}
