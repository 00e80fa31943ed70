import { Database } from 'bun:sqlite';
import { accessSync, constants, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { StartError } from '../domain/start-error.ts';

/** The folder of everything that outlives the process. One process has it at a time. */
export interface DataFolder {
  /** Absolute. */
  readonly path: string;
  /** Lets the next process have it; call it last of all. */
  close(): void;
}

/**
 * Makes the folder where it is missing (mode 0700) and takes it for this process. The lock is the
 * kernel's record lock on `lock.sqlite`, so it ends with the process however that dies, and child
 * processes don't inherit it. `pulsegraph.pid` beside it only serves the message.
 *
 * @throws StartError when another process has it, or it is no folder that this user can write
 */
export function openDataFolder(folder: string): DataFolder {
  const path = resolve(folder);
  makeFolder(path);
  const pidFile = join(path, 'pulsegraph.pid');
  const lock = takeLock(path, pidFile);
  writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  return { path, close: () => lock.close(true) };
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    if (!statSync(path).isDirectory()) throw unusable(path, 'is a file, not a folder');
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw unusable(path, reasonOf(error), error);
  }
}

function takeLock(path: string, pidFile: string): Database {
  let lock: Database | undefined;
  try {
    lock = new Database(join(path, 'lock.sqlite'), { create: true });
    // Held until close: nothing is ever written, so a kill leaves no journal to recover.
    lock.run('PRAGMA busy_timeout = 0');
    lock.run('BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock?.close();
    if ((error as { code?: string }).code !== 'SQLITE_BUSY') {
      throw unusable(path, `has a lock file that can't be opened (${(error as Error).message})`);
    }
    throw new StartError(
      'DATA_DIR_IN_USE',
      `DATA_DIR ${path} is in use by another Pulsegraph process (pid ${readPid(pidFile)}): ` +
        'stop it, or set DATA_DIR to another folder',
    );
  }
}

function readPid(pidFile: string): string {
  try {
    return readFileSync(pidFile, 'utf8').trim() || 'unknown';
  } catch {
    return 'unknown';
  }
}

function reasonOf(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EEXIST':
      return 'is a file, not a folder';
    case 'ENOTDIR':
      return 'lies below a file, not a folder';
    case 'EACCES':
    case 'EPERM':
      return `can't be read and written by this user (uid ${process.getuid?.() ?? 'unknown'})`;
    case 'EROFS':
      return 'is on a read-only file system';
    case 'ENOSPC':
      return 'is on a full disk';
    default:
      return `can't be used (${(error as Error).message})`;
  }
}

function unusable(path: string, reason: string, cause?: unknown): StartError {
  return new StartError(
    'DATA_DIR_UNUSABLE',
    `DATA_DIR ${path} ${reason}: set DATA_DIR to a folder that this user can write`,
    { cause },
  );
}
