import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StartError } from '../domain/start-error.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';
import { ENVIRONMENT, folderArgument } from './postgres-folder.ts';
import { readPidFile, stopProcess } from './postgres-orphan.ts';

/** One run of the server, from its start to its end. */
export interface PostgresServer {
  readonly pid: number;
  /** Resolves with the exit code or signal, however the server ended. Never rejects. */
  readonly exited: Promise<string>;
  /** Fast shutdown; immediate after `fastMs`; SIGKILL 5 s later. */
  stop(fastMs: number): Promise<void>;
}

export interface ServerOptions {
  folder: string;
  binaries: PostgresBinaries;
  settings: Record<string, string>;
  logFile: string;
}

/** Crash recovery replays at most max_wal_size, which takes seconds; this is for a dying disk. */
const READY_DEADLINE_MS = 300_000;

/**
 * Waits for our end of its stdin: a line there means that the server has ended; end of file means
 * that we were killed, and then it shuts the server down, so that nothing outlives us. It signals
 * only the pid that postmaster.pid names, which a server just started writes within moments.
 */
const WATCH_SCRIPT = `
server=$1
ours() {
  read -r pid < postmaster.pid && [ "$pid" = "$server" ] && kill -0 "$server"
}
read -r _ && exit
tries=0
until ours || [ $tries -ge 20 ]; do
  tries=$((tries + 1))
  sleep 0.1
done
for signal in INT QUIT; do
  tries=0
  while [ $tries -lt 40 ] && ours; do
    [ $tries -gt 0 ] || kill -$signal "$server"
    tries=$((tries + 1))
    sleep 0.25
  done
done
`;

/**
 * Starts the server in a session of its own (a Ctrl-C in the terminal is for us alone) and waits
 * until it takes connections.
 *
 * @throws StartError with PostgreSQL's own words when it ends before that, or the signal aborts
 */
export async function startServer(
  options: ServerOptions,
  signal: AbortSignal,
): Promise<PostgresServer> {
  const { folder, logFile } = options;
  const logStart = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  const child = spawnServer(options);
  const ended = endOf(child);
  const { pid } = child;
  if (pid === undefined) throw failed(await ended, logFile);
  const dismissWatcher = spawnWatcher(pid, options);
  const exited = ended.then(async (reason) => {
    await dismissWatcher();
    return reason;
  });
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  const stop = async (fastMs: number) => {
    await stopProcess(pid, isRunning, fastMs);
    await exited;
  };
  const deadline = performance.now() + READY_DEADLINE_MS;
  for (;;) {
    const state = readPidFile(folder);
    if (state?.pid === pid && state.ready) return { pid, exited, stop };
    if (!isRunning()) throw failed(lastWords(logFile, logStart) ?? (await exited), logFile);
    if (signal.aborted || performance.now() > deadline) {
      await stop(1_000);
      throw failed(signal.aborted ? 'stopped while starting' : 'not ready in 5 minutes', logFile);
    }
    await sleep(5);
  }
}

function spawnServer({ folder, binaries, settings, logFile }: ServerOptions): ChildProcess {
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const log = openSync(logFile, 'a', 0o600);
  try {
    return spawn(
      join(binaries.directory, 'bin', 'postgres'),
      ['-D', folderArgument(folder, binaries), ...flags],
      {
        ...binaries.account,
        cwd: folder,
        env: ENVIRONMENT,
        stdio: ['ignore', log, log],
        detached: true,
      },
    );
  } finally {
    closeSync(log);
  }
}

/** @returns sends the watcher home, once the server has ended */
function spawnWatcher(pid: number, { folder, binaries }: ServerOptions): () => Promise<unknown> {
  const watcher = spawn('/bin/sh', ['-c', WATCH_SCRIPT, 'postgres-watch', String(pid)], {
    ...binaries.account,
    cwd: folder,
    env: ENVIRONMENT,
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  const ended = endOf(watcher);
  // Somebody may have killed it; the next start finds an orphan without its help.
  watcher.stdin.on('error', () => {});
  return () => {
    watcher.stdin.end('ended\n');
    return ended;
  };
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit ${code}`));
  });
}

/** The decisive line that this run wrote into the log. */
function lastWords(logFile: string, from: number): string | null {
  const text = readFileSync(logFile).subarray(from).toString();
  const lines = text.match(/(?<=(?:FATAL|PANIC|LOG|HINT): {2}).*|^\S*postgres: .*/gm) ?? [];
  const bind = lines.find((line) => line.startsWith('could not bind'));
  return bind ?? /(?<=(?:FATAL|PANIC): {2}).*/.exec(text)?.[0] ?? lines.at(-1) ?? null;
}

function failed(reason: string, logFile: string): StartError {
  return new StartError('POSTGRES_FAILED', `PostgreSQL did not start: ${reason}; see ${logFile}`);
}
