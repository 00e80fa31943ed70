import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { StartError } from '../domain/start-error.ts';
import { giveFolder } from './postgres-account.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';

export const SUPERUSER = 'pulsegraph';
export const DATABASE = 'pulsegraph';

export interface FolderOptions {
  dataDir: string;
  binaries: PostgresBinaries;
  /** False only for a database that may be lost, as in tests. */
  durable: boolean;
}

/** Environment of every PostgreSQL program: none of the caller's PG* variables or locale. */
export const ENVIRONMENT = { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' };

/**
 * What `-D` gets. A process under another account may not walk down to a folder below /root, but
 * it may use the one it was started in: all programs here are started with the folder as cwd.
 */
export function folderArgument(folder: string, { account }: PostgresBinaries): string {
  return account !== null && process.platform === 'linux' ? '/proc/self/cwd' : folder;
}

/**
 * Makes the database folder where there is none, and checks the one that is there.
 *
 * @returns the folder, and the superuser's password
 * @throws StartError when the folder is of another major version or no database folder
 */
export async function prepareFolder(
  options: FolderOptions,
): Promise<{ folder: string; password: string }> {
  const { dataDir, binaries } = options;
  const folder = join(dataDir, 'postgres');
  const passwordFile = join(dataDir, 'postgres-password');
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    checkVersion(folder, binaries.major);
    if (binaries.account && statSync(folder).uid !== binaries.account.uid) {
      giveFolder(folder, binaries.account);
    }
    const password = readPassword(passwordFile) ?? newPassword();
    if (!existsSync(passwordFile)) {
      await runSql(folder, options, [`ALTER ROLE ${SUPERUSER} PASSWORD '${password}'`]);
      writeDurably(passwordFile, password);
    }
    return { folder, password };
  }
  const password = readPassword(passwordFile) ?? newPassword();
  writeDurably(passwordFile, password);
  await createFolder(folder, password, options);
  return { folder, password };
}

/** Built beside its place and renamed, so that a folder in its place is always a whole one. */
async function createFolder(
  folder: string,
  password: string,
  options: FolderOptions,
): Promise<void> {
  const { account } = options.binaries;
  removeHalfMade(options.dataDir);
  const half = mkdtempSync(`${folder}.new-`);
  if (account) chownSync(half, account.uid, account.gid);
  await run('initdb', half, options, [
    ...['-D', folderArgument(half, options.binaries), '-U', SUPERUSER, '--auth=trust'],
    ...['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
    ...['--no-instructions', ...(options.durable ? [] : ['--no-sync'])],
  ]);
  // Nobody gets in without the password from here on; the server has no other door than TCP.
  writeFileSync(join(half, 'pg_hba.conf'), 'host all all 127.0.0.1/32 scram-sha-256\n');
  await runSql(half, options, [
    `ALTER ROLE ${SUPERUSER} PASSWORD '${password}'`,
    `CREATE DATABASE ${DATABASE}`,
  ]);
  renameSync(half, folder);
  syncFolder(options.dataDir);
}

/**
 * What killed processes left. An initdb of theirs may still run for a second; then its folder stays
 * for the next time, and doesn't stand in our way.
 */
function removeHalfMade(dataDir: string): void {
  for (const name of readdirSync(dataDir)) {
    if (!name.startsWith('postgres.new-')) continue;
    try {
      rmSync(join(dataDir, name), { recursive: true, force: true });
    } catch {
      // See above.
    }
  }
}

function checkVersion(folder: string, major: string): void {
  const file = join(folder, 'PG_VERSION');
  if (!existsSync(file)) {
    throw new StartError(
      'DATA_DIR_UNUSABLE',
      `${folder} is not a PostgreSQL folder (it has no PG_VERSION): move it away, ` +
        'or set DATA_DIR to another folder',
    );
  }
  const found = readFileSync(file, 'utf8').trim();
  if (found !== major) {
    throw new StartError(
      'DATA_DIR_UNUSABLE',
      `${folder} was made by PostgreSQL ${found} and this is PostgreSQL ${major}: dump it with ` +
        `PostgreSQL ${found} (pg_dump), or set DATA_DIR to another folder`,
    );
  }
}

/** SQL in single-user mode: needs no password and no port. */
async function runSql(folder: string, options: FolderOptions, sql: string[]): Promise<void> {
  const fsync = `fsync=${options.durable ? 'on' : 'off'}`;
  const args = ['--single', '-D', folderArgument(folder, options.binaries), '-c', fsync];
  await run('postgres', folder, options, [...args, 'postgres'], `${sql.join(';\n')};\n`);
}

function run(
  program: 'initdb' | 'postgres',
  folder: string,
  { binaries }: FolderOptions,
  args: string[],
  input = '',
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(join(binaries.directory, 'bin', program), args, {
      ...binaries.account,
      cwd: folder,
      env: ENVIRONMENT,
      stdio: ['pipe', 'ignore', 'pipe'],
      detached: true,
      timeout: 120_000,
    });
    const fail = (reason: string) =>
      reject(new StartError('POSTGRES_FAILED', `${program} failed on ${folder}: ${reason}`));
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr = (stderr + chunk).slice(-10_000);
    });
    child.on('error', (error) => fail(error.message));
    child.on('close', (code, signal) => {
      // Single-user mode ends with 0 after a failed statement too.
      const fault = /^.*(?:ERROR|FATAL|PANIC|error): .*$/m.exec(stderr)?.[0];
      if (code === 0 && fault === undefined) resolve();
      else fail(fault ?? `${stderr.trim().split('\n').at(-1)} (exit ${code ?? signal})`);
    });
    child.stdin.end(input);
  });
}

/** 24 random bytes in hex, so that it needs quoting neither in SQL nor in a URL. */
function newPassword(): string {
  return randomBytes(24).toString('hex');
}

function readPassword(file: string): string | null {
  if (!existsSync(file)) return null;
  const password = readFileSync(file, 'utf8').trim();
  if (/^[\w-]+$/.test(password)) return password;
  throw new StartError(
    'DATA_DIR_UNUSABLE',
    `${file} holds no usable password: delete it, and the next start makes a new one`,
  );
}

function writeDurably(file: string, text: string): void {
  const half = `${file}.new`;
  const fd = openSync(half, 'w', 0o600);
  try {
    writeFileSync(fd, `${text}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(half, file);
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
