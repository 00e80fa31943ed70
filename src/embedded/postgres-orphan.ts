import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StartError } from '../domain/start-error.ts';

/** Fast shutdown, then immediate, then none at all: [signal, how long to wait for the end]. */
const STOP_STEPS = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 5_000],
] as const;

const POLL_MS = 20;

/** The postmaster.pid of a running or killed server; null when there is none that can be read. */
export function readPidFile(folder: string): { pid: number; ready: boolean } | null {
  let lines: string[];
  try {
    lines = readFileSync(join(folder, 'postmaster.pid'), 'utf8').split('\n');
  } catch {
    return null;
  }
  // Single-user mode writes its pid with a minus.
  const pid = Math.abs(Number(lines[0]));
  return Number.isInteger(pid) && pid > 1 ? { pid, ready: lines[7]?.trim() === 'ready' } : null;
}

/**
 * Clears the way for a start: stops a server that a killed process left on the folder, the backends
 * that a killed server left (a busy one doesn't notice, and holds the shared memory), and removes
 * a postmaster.pid that names no server of this folder (its pid may be somebody else's by now).
 * Only for the holder of the data folder, as any server found here is then its own.
 *
 * @returns the pid of the server that was stopped; null when none was running
 */
export async function clearOrphan(folder: string): Promise<number | null> {
  const found = readPidFile(folder);
  const orphan = found !== null && isServerOf(found.pid, folder) ? found.pid : null;
  if (orphan !== null) await stopProcess(orphan, () => isServerOf(orphan, folder));
  for (const pid of backendsOf(folder)) await stopProcess(pid, () => isServerOf(pid, folder), 500);
  rmSync(join(folder, 'postmaster.pid'), { force: true });
  return orphan;
}

/** Other systems have no cheap way to tell; there the next start waits for the backends' end. */
function backendsOf(folder: string): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => isServerOf(pid, folder));
}

/**
 * Signals a server until `isRunning` says that it is gone: SIGINT, SIGQUIT, SIGKILL, each with its
 * deadline.
 *
 * @throws StartError when even the last one doesn't end it
 */
export async function stopProcess(
  pid: number,
  isRunning: () => boolean,
  fastMs: number = STOP_STEPS[0][1],
): Promise<void> {
  for (const [signal, limitMs] of STOP_STEPS) {
    if (!isRunning()) return;
    try {
      process.kill(pid, signal);
    } catch {
      // Gone in between; the loop sees it.
    }
    const deadline = performance.now() + (signal === 'SIGINT' ? fastMs : limitMs);
    while (isRunning() && performance.now() < deadline) await sleep(POLL_MS);
  }
  if (isRunning()) {
    throw new StartError('POSTGRES_FAILED', `PostgreSQL (pid ${pid}) can't be stopped: kill it`);
  }
}

/** Whether the process is a postgres that works in this folder. A zombie is not. */
function isServerOf(pid: number, folder: string): boolean {
  try {
    if (process.platform === 'linux') {
      const comm = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
      return comm === 'postgres' && readlinkSync(`/proc/${pid}/cwd`) === realpathSync(folder);
    }
    const command = execFileSync('ps', ['-p', String(pid), '-o', 'command='], { encoding: 'utf8' });
    const [program = '', ...args] = command.trim().split(' ');
    return basename(program) === 'postgres' && args.join(' ').includes(folder);
  } catch {
    return false;
  }
}
