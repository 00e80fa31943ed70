import { copyFileSync, statSync, truncateSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { StartError } from '../domain/start-error.ts';
import { accountFor } from './postgres-account.ts';
import { findBinaries } from './postgres-binaries.ts';
import { DATABASE, prepareFolder, SUPERUSER } from './postgres-folder.ts';
import { clearOrphan } from './postgres-orphan.ts';
import { type PostgresServer, type ServerOptions, startServer } from './postgres-server.ts';
import { isBetweenLives } from './postgres-stuck.ts';

export interface PostgresOptions {
  /** The data folder, held by this process (openDataFolder). */
  dataDir: string;
  /** On 127.0.0.1; 0 takes any free one. */
  port: number;
  logger: Logger;
  /** Default 50. */
  maxConnections?: number;
  /** Server settings over the ones below, as `postgres -c` takes them. */
  settings?: Record<string, string>;
}

export interface EmbeddedPostgres {
  /** Of the database, as its superuser, with the password. Stays the same over a crash. */
  readonly url: string;
  readonly port: number;
  /** The process in charge at this moment. */
  pid(): number;
  /** Fast shutdown, forced after `deadlineMs` (default 10 s). Resolves when it is gone. */
  stop(deadlineMs?: number): Promise<void>;
}

/** What an acknowledged reading rests on comes first. */
const SETTINGS: Record<string, string> = {
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  wal_compression: 'on',
  max_wal_size: '2GB',
  shared_buffers: '192MB',
  // Planning with the JIT costs more than it gives on queries as short as ours.
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
  // A refused statement may hold readings: they stay out of the log.
  log_min_error_statement: 'panic',
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
};

const LOG_LIMIT_BYTES = 8 * 1024 * 1024;
const LOG_CHECK_MS = 30_000;
const RESTART_DELAYS_MS = [50, 200, 500, 1_000, 2_000, 5_000];
/** A server that ran this long has a fresh start: its next crash waits shortly again. */
const STEADY_MS = 60_000;
/** A server that recovers from a crash is without its processes for 5 s at the most. */
const STUCK_AFTER_CHECKS = 8;
const STUCK_CHECK_MS = 2_000;
/** Backends of a server that was killed let go of its shared memory within this. */
const SHARED_MEMORY_WAIT_MS = 10_000;

/**
 * Starts PostgreSQL on `${dataDir}/postgres`, which is made at the first start, and keeps it
 * running: a server that ends by itself is started again on the same port.
 *
 * @throws StartError when the port is taken, the folder unusable, or PostgreSQL can't run here
 */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(options);
    } catch (error) {
      // A free port may be taken between finding and using it.
      const lostPort = error instanceof StartError && error.code === 'PORT_TAKEN';
      if (lostPort && options.port === 0 && attempt < 3) continue;
      if (error instanceof StartError || !(error as NodeJS.ErrnoException).code) throw error;
      throw new StartError(
        'DATA_DIR_UNUSABLE',
        `DATA_DIR ${options.dataDir} can't hold the database (${(error as Error).message}): ` +
          'check its owner and the free space, or set DATA_DIR to another folder',
        { cause: error },
      );
    }
  }
}

async function start(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const { logger } = options;
  const dataDir = resolve(options.dataDir);
  const logFile = join(dataDir, 'postgres.log');
  const binaries = await findBinaries(accountFor(join(dataDir, 'postgres')));
  const durable = options.settings?.fsync !== 'off';
  // A server left by a killed process may hold the very port that we want.
  await clearOrphans(dataDir, logger);
  const port = await claimPort(options.port);
  const { folder, password } = await prepareFolder({ dataDir, binaries, durable });
  const settings = {
    ...SETTINGS,
    port: String(port),
    max_connections: String(options.maxConnections ?? 50),
    ...options.settings,
  };
  const running = await keepRunning({ folder, binaries, logFile, settings }, logger);
  const logTimer = setInterval(() => boundLog(logFile), LOG_CHECK_MS);
  logTimer.unref();
  return {
    url: `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${DATABASE}`,
    port,
    pid: running.pid,
    stop: async (deadlineMs = 10_000) => {
      clearInterval(logTimer);
      await running.stop(deadlineMs);
    },
  };
}

async function clearOrphans(dataDir: string, logger: Logger): Promise<void> {
  const orphan = await clearOrphan(join(dataDir, 'postgres'));
  if (orphan === null) return;
  logger.warn({ pid: orphan }, 'stopped the PostgreSQL that a killed process had left running');
}

/** The first start must succeed; from then on the server is started again whenever it ends. */
async function keepRunning(options: ServerOptions, logger: Logger) {
  const stopping = new AbortController();
  let server: PostgresServer | null = await startPatiently(options, stopping.signal);
  let pid = server.pid;

  const supervise = async () => {
    let failures = 0;
    while (server !== null) {
      const startedAt = performance.now();
      // A stop that came while it was starting has not seen it.
      if (stopping.signal.aborted) await server.stop(1_000);
      const endWatch = endWhenStuck(server, logger);
      const reason = await server.exited;
      endWatch();
      if (stopping.signal.aborted) return;
      if (performance.now() - startedAt > STEADY_MS) failures = 0;
      logger.error({ reason, pid }, 'PostgreSQL ended by itself; starting it again');
      server = null;
      while (server === null && !stopping.signal.aborted) {
        await pause(
          RESTART_DELAYS_MS[Math.min(failures++, RESTART_DELAYS_MS.length - 1)] as number,
        );
        server = await restart();
      }
    }
  };
  const restart = async (): Promise<PostgresServer | null> => {
    if (stopping.signal.aborted) return null;
    try {
      await clearOrphan(options.folder);
      const next = await startPatiently(options, stopping.signal);
      pid = next.pid;
      logger.info({ pid }, 'PostgreSQL is back');
      return next;
    } catch (error) {
      if (!stopping.signal.aborted) logger.error({ err: error }, 'PostgreSQL does not start yet');
      return null;
    }
  };
  const pause = async (ms: number) => {
    await sleep(ms, undefined, { signal: stopping.signal, ref: false }).catch(() => {});
  };

  const supervision = supervise();
  return {
    pid: () => pid,
    stop: async (deadlineMs: number) => {
      stopping.abort();
      await server?.stop(deadlineMs);
      await supervision;
    },
  };
}

/** A server that will never serve again by itself is ended. @returns ends the watch */
function endWhenStuck(server: PostgresServer, logger: Logger): () => void {
  let checks = 0;
  const timer = setInterval(() => {
    checks = isBetweenLives(server.pid) ? checks + 1 : 0;
    if (checks !== STUCK_AFTER_CHECKS) return;
    logger.error({ pid: server.pid }, 'PostgreSQL does not recover from a crash: ending it');
    server.stop(1_000).catch((error) => logger.error({ err: error }, 'PostgreSQL does not end'));
  }, STUCK_CHECK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

async function startPatiently(
  options: ServerOptions,
  signal: AbortSignal,
): Promise<PostgresServer> {
  const deadline = performance.now() + SHARED_MEMORY_WAIT_MS;
  for (;;) {
    try {
      return await startServer(options, signal);
    } catch (error) {
      const { message } = error as Error;
      if (message.includes('Address already in use')) throw portTaken(options.settings.port, error);
      if (!message.includes('pre-existing shared memory') || performance.now() > deadline)
        throw error;
      await sleep(100);
    }
  }
}

/** Finds out before anything is started: the port itself, or a free one for 0. */
function claimPort(port: number): Promise<number> {
  return new Promise((resolvePort, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? portTaken(port, error)
          : new StartError(
              'PORT_TAKEN',
              `POSTGRES_PORT ${port} can't be listened on (${error.message}): set another one`,
            ),
      ),
    );
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
      const address = probe.address();
      const found = typeof address === 'object' && address !== null ? address.port : port;
      probe.close(() => resolvePort(found));
    });
  });
}

function portTaken(port: number | string | undefined, cause: unknown): StartError {
  return new StartError(
    'PORT_TAKEN',
    `POSTGRES_PORT ${port} is taken: stop the program that listens there, set POSTGRES_PORT to ` +
      'a free port, or set DATABASE_URL to use a PostgreSQL server of yours',
    { cause },
  );
}

/** Copy and truncate, as the server keeps the file open for appending. */
function boundLog(logFile: string): void {
  if ((statSync(logFile, { throwIfNoEntry: false })?.size ?? 0) < LOG_LIMIT_BYTES) return;
  copyFileSync(logFile, `${logFile}.1`);
  truncateSync(logFile);
}
