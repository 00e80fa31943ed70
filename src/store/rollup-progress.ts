import type { Micros } from '../domain/time.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { setLocalTimeouts } from './local-timeouts.ts';
import { type LogPartition, readWatermark } from './watermark.ts';

export interface RollupProgress {
  generation: number;
  horizon: Micros;
  builtTo: Micros;
  keptFrom: Micros;
  /** Whether any step is marked. */
  marked: boolean;
  /** Up to where all may be rolled up now. */
  target: Micros;
}

/**
 * Undefined where the row was removed: then nothing is rolled up. The target is what is older than
 * an hour, by the arrival of what the slowest lane has stored: so one that catches up after an
 * outage finds its readings above the horizon, and sets no mark for each. A partition without a
 * record for six hours holds nobody up.
 */
export async function readRollupProgress(
  sql: Sql,
  { now }: { now: Micros },
): Promise<RollupProgress | undefined> {
  const [row] = await sql<RollupProgress[]>`
    SELECT generation, horizon, built_to AS "builtTo", kept_from AS "keptFrom",
      EXISTS (SELECT FROM rollup_marks) AS marked,
      date_bin('15 minutes', least(${now}::timestamptz, now(), (
        SELECT min(covered_at) FROM watermarks
        WHERE covered_at > ${now}::timestamptz - interval '6 hours')) - interval '1 hour', 'epoch'
      ) AS target
    FROM rollup_progress`;
  return row;
}

/**
 * Begins a new generation of marks, with the horizon at `target` unless it is there already. When
 * it returns, every transaction that may have read the generation or the horizon before is over.
 *
 * @returns the generation; older marks may be worked off now
 */
export async function openGeneration(sql: Sql, { target }: { target: Micros }): Promise<number> {
  const [row] = await sql<{ generation: number }[]>`
    UPDATE rollup_progress
    SET generation = generation + 1, horizon = greatest(horizon, ${target}::timestamptz)
    RETURNING generation`;
  if (row === undefined) throw new Error('the row of rollup_progress is gone');
  await passLanes(sql);
  return row.generation;
}

/** Waits for each lane's transaction to end, one after the other, and holds none of them up. */
async function passLanes(sql: Sql): Promise<void> {
  const lanes = await sql<LogPartition[]>`
    SELECT log_id AS "logId", topic, partition FROM watermarks`;
  for (const lane of lanes) {
    await sql.begin(async (tx) => {
      await setLocalTimeouts(tx as unknown as TransactionSql);
      await readWatermark(tx as unknown as TransactionSql, lane);
    });
  }
}

/** Rollups before it no longer count: readings may be dropped up to there. */
export async function forgetRollups(sql: Sql, { before }: { before: Micros }): Promise<void> {
  await sql`
    UPDATE rollup_progress SET
      kept_from = date_bin('15 minutes', ${before}::timestamptz + interval '15 minutes', 'epoch')
    WHERE kept_from < ${before}::timestamptz`;
}
