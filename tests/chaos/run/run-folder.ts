import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive } from '../../support/process.ts';

/** Where all that a run makes has its files, so that what it leaves behind can be told. */
export interface RunFolder {
  readonly path: string;
  /** Processes with the folder in their command line, environment or working directory. */
  processes(): string[];
  remove(): void;
}

/** From now on it is this process's folder for temporary files. Linux only. */
export function createRunFolder(): RunFolder {
  const path = mkdtempSync(join(tmpdir(), 'pulsegraph-chaos-run-'));
  // Servers that run under an account of their own pass through it.
  chmodSync(path, 0o755);
  const before = process.env.TMPDIR;
  process.env.TMPDIR = path;
  return {
    path,
    processes: () =>
      readdirSync('/proc')
        .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
        .filter((name) => isAlive(Number(name)) && mentions(name, path))
        .map(
          (name) => `${name} ${read(`/proc/${name}/cmdline`).replaceAll('\0', ' ').slice(0, 80)}`,
        ),
    remove() {
      if (before === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = before;
      rmSync(path, { recursive: true, force: true });
    },
  };
}

function mentions(pid: string, path: string): boolean {
  if (read(`/proc/${pid}/cmdline`).includes(path)) return true;
  if (read(`/proc/${pid}/environ`).includes(path)) return true;
  try {
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(path);
  } catch {
    return false;
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
