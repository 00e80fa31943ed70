import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import { MICROS_PER_MS, type Micros } from '../domain/time.ts';
import type { Sql } from '../store/connection.ts';
import { dropOldReadings } from '../store/drop-old-readings.ts';
import { errorCode } from '../store/failure.ts';
import { LOCKS } from '../store/migrations.ts';
import { createPartitionMaker } from '../store/partitions.ts';
import { pruneAlertEvents } from '../store/prune-alert-events.ts';
import { pruneAlerts } from '../store/prune-alerts.ts';
import { pruneDeadLetters } from '../store/prune-dead-letters.ts';
import { pruneRuleChanges } from '../store/prune-rule-changes.ts';
import { forgetRollups } from '../store/rollup-progress.ts';
import { ROLLUPS } from '../store/rollups-schema.ts';
import { runForOffice } from './elect.ts';
import { sleep } from './retry.ts';
import { keepRolledUp } from './roll-up.ts';

/** Ages in days at which things are deleted; null: never. */
export interface Retention {
  /** Whole months of readings, once the last of them is so old. */
  readings: number | null;
  /** Resolved alerts. */
  alerts: number | null;
  /** Transitions of alerts, once they are published. */
  alertEvents: number | null;
  deadLetters: number | null;
  /** Versions of rules that are no longer the newest. */
  ruleChanges: number | null;
}

export interface JanitorOptions {
  /** A pool; may be behind a pooler. */
  sql: Sql;
  /** Opens one connection straight to the database, not through a pooler. */
  openSession: () => Sql;
  model: Model;
  retention: Retention;
  logger: Logger;
  intervalMs?: number;
  /** How often it looks for what is to be rolled up. */
  rollUpIntervalMs?: number;
  electionIntervalMs?: number;
}

/** One replica, elected, deletes what is too old, makes partitions ahead of time, and rolls up. */
export interface Janitor {
  start(): void;
  close(): Promise<void>;
}

const HOUR_MS = 3_600_000;
const RETRY_MS = 300_000;
/** Between two pages, so that the database gets to its other work. */
const BREATH_MS = 50;
const LOCK_ATTEMPTS = 20;

export function createJanitor(options: JanitorOptions): Janitor {
  const { intervalMs = HOUR_MS, electionIntervalMs = 10_000, rollUpIntervalMs = 30_000 } = options;
  const logger = options.logger.child({ part: 'janitor' });
  const closing = new AbortController();
  let running: Promise<void> = Promise.resolve();

  async function term(signal: AbortSignal): Promise<void> {
    const { sql, model } = options;
    const rolling = keepRolledUp({ sql, model, logger, signal, intervalMs: rollUpIntervalMs });
    await Promise.all([tidying(signal), rolling]);
  }

  async function tidying(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { deleted, failed } = await tidy({ ...options, logger, signal });
      if (Object.keys(deleted).length > 0) logger.info({ deleted }, 'deleted what was too old');
      await sleep(failed ? Math.min(RETRY_MS, intervalMs) : intervalMs, signal);
    }
  }

  return {
    start() {
      const { openSession } = options;
      running = runForOffice({
        ...{ openSession, lock: LOCKS.janitor, name: 'janitor', term, logger },
        ...{ signal: closing.signal, intervalMs: electionIntervalMs },
      });
    },
    async close() {
      closing.abort();
      await running;
    },
  };
}

export interface Tidying {
  sql: Sql;
  model: Model;
  retention: Retention;
  logger: Pick<Logger, 'warn'>;
  signal: AbortSignal;
  nowMs?: number;
}

/** One round. A part that fails is logged and keeps the others from nothing. */
export async function tidy(
  work: Tidying,
): Promise<{ deleted: Record<string, number>; failed: boolean }> {
  const { sql, model, retention, logger, signal, nowMs = Date.now() } = work;
  const deleted: Record<string, number> = {};
  let failed = false;

  async function part(
    name: string,
    days: number | null,
    remove: (before: Micros) => Promise<number>,
  ): Promise<void> {
    if (days === null || signal.aborted) return;
    const before = (nowMs - days * 24 * HOUR_MS) * MICROS_PER_MS;
    try {
      const count = await remove(before);
      if (count > 0) deleted[name] = count;
    } catch (error) {
      failed = true;
      logger.warn({ err: error }, `${name} are not tidied up; they will be later`);
    }
  }
  const paged =
    (prune: (sql: Sql, options: { before: Micros }) => Promise<number>) => (before: Micros) =>
      allPages(() => prune(sql, { before }), signal);

  await part('partitions', 0, async () => {
    const now = new Date(nowMs);
    const nextMonthMs = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1);
    const times = [nowMs, nextMonthMs].map((ms) => ms * MICROS_PER_MS);
    await createPartitionMaker(sql, model).ensure(times);
    return 0;
  });
  await part('readings', retention.readings, async (before) => {
    // First, so that no rollup counts whose readings are gone.
    await forgetRollups(sql, { before });
    const names = await patiently(() => dropOldReadings(sql, model, { before }), signal);
    await patiently(() => dropOldReadings(sql, { table: ROLLUPS }, { before }), signal);
    return names.length;
  });
  await part('alert events', retention.alertEvents, paged(pruneAlertEvents));
  await part('alerts', retention.alerts, paged(pruneAlerts));
  await part('dead letters', retention.deadLetters, paged(pruneDeadLetters));
  await part('rule changes', retention.ruleChanges, paged(pruneRuleChanges));
  return { deleted, failed };
}

async function allPages(prune: () => Promise<number>, signal: AbortSignal): Promise<number> {
  for (let total = 0; ; ) {
    const count = await prune();
    total += count;
    if (count === 0 || signal.aborted) return total;
    await sleep(BREATH_MS, signal);
  }
}

/** Waits for a lock in short tries, so that nobody waits long behind it. */
async function patiently<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      const locked = errorCode(error) === '55P03';
      if (!locked || tries === LOCK_ATTEMPTS || signal.aborted) throw error;
      await sleep(500 + Math.random() * 500, signal);
    }
  }
}
