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
import type { Fault } from '../fault.ts';

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
  const problem =
    // No blocks are kept back for root, who would go on writing.
    problemOf('mkfs.ext4', '-q', '-m', '0', file) ?? problemOf('mount', '-o', 'loop', file, path);
  if (problem !== null) {
    onSkipped(`disk full: ${problem}`);
    return null;
  }
  return {
    path,
    fault: diskFault(path),
    unmount: () => void problemOf('umount', '--lazy', path),
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
      };
    },
  };
}

/** Appends until nothing more goes in. */
function fill(filler: string, path: string): void {
  const { bavail, bsize } = statfsSync(path);
  const length = String(sizeOf(filler) + bavail * bsize);
  if (problemOf('fallocate', '--posix', '--length', length, filler) === null) return;
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

/** Runs a command to its end; null where it went well. */
function problemOf(command: string, ...args: string[]): string | null {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? null : `${command} does not work here (${error?.message ?? stderr.trim()})`;
}
