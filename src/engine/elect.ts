import type { Logger } from 'pino';
import type { Sql } from '../store/connection.ts';
import { backoffMs, sleep, withDeadline } from './retry.ts';

export interface ElectionOptions {
  /** A connection of its own, straight to the database: the lock belongs to its session. */
  openSession: () => Sql;
  /** Advisory lock key. */
  lock: number;
  /** The office, for the log. */
  name: string;
  /** What the elected one does until the signal aborts. Its end ends the term. */
  term: (signal: AbortSignal) => Promise<void>;
  logger: Pick<Logger, 'info' | 'warn'>;
  signal: AbortSignal;
  /** How often a candidate asks for the lock, and the elected one whether it still has it. */
  intervalMs?: number;
}

const ANSWER_MS = 5_000;
const STOP_MS = 10_000;

/**
 * Runs for office until the signal aborts. Never rejects. The client opens a lost connection again
 * by itself, without the lock; so the elected one asks the server whether this session holds it.
 */
export async function runForOffice(options: ElectionOptions): Promise<void> {
  const { signal, name, logger, intervalMs = 1_000 } = options;
  for (let attempt = 0; !signal.aborted; attempt++) {
    const session = options.openSession();
    try {
      if (await acquire(session, options)) {
        attempt = 0;
        await serve(session, options);
      }
    } catch (error) {
      if (!signal.aborted && attempt === 0) logger.warn({ err: error }, `${name}: stepped down`);
    } finally {
      // The lock goes with the session.
      await session.end({ timeout: 1 }).catch(() => {});
    }
    await sleep(Math.max(intervalMs / 2, backoffMs(attempt)), signal);
  }
}

/** Resolves with true once this session holds the lock, with false when the signal aborts. */
async function acquire(session: Sql, options: ElectionOptions): Promise<boolean> {
  const { lock, name, signal, intervalMs = 1_000 } = options;
  while (!signal.aborted) {
    // The server frees the lock of a machine that vanished after some 30 s.
    const [row] = await withDeadline(
      session<{ elected: boolean }[]>`
        SELECT set_config('tcp_keepalives_idle', '15', false),
               set_config('tcp_keepalives_interval', '5', false),
               set_config('tcp_keepalives_count', '3', false),
               pg_try_advisory_lock(${lock}::bigint) AS elected`.execute(),
      ANSWER_MS,
      `asking for the ${name} lock`,
    );
    if (row?.elected) return true;
    await sleep(intervalMs, signal);
  }
  return false;
}

async function serve(session: Sql, options: ElectionOptions): Promise<void> {
  const { lock, name, term, signal, logger, intervalMs = 1_000 } = options;
  const ending = new AbortController();
  const serving = term(AbortSignal.any([signal, ending.signal])).finally(() => ending.abort());
  serving.catch(() => {});
  logger.info(`${name}: elected`);
  try {
    while (!signal.aborted && !ending.signal.aborted) {
      await sleep(intervalMs, AbortSignal.any([signal, ending.signal]));
      const [row] = await withDeadline(
        session<{ held: boolean }[]>`
          SELECT EXISTS (
            SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
              AND pid = pg_backend_pid() AND classid = 0 AND objid = ${lock}::bigint::oid
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          ) AS held`.execute(),
        ANSWER_MS,
        `checking the ${name} lock`,
      );
      if (!row?.held) throw new Error(`the session that held the ${name} lock is gone`);
    }
  } finally {
    ending.abort();
    // A term that failed is the reason why it ended, and is told; otherwise it has just stopped.
    await withDeadline(serving, STOP_MS, `ending the term of the ${name}`);
  }
}
