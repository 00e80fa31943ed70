import { formatMicros, type Micros } from '../domain/time.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { literal } from './literal.ts';

/** A partition of one log, for as long as that log exists. */
export interface LogPartition {
  logId: string;
  topic: string;
  partition: number;
}

export interface Watermark {
  /** The highest offset whose effects are stored; -1 before the first. */
  offset: number;
  /** The newest log timestamp among the records covered. */
  coveredAt: Micros;
  /** Since when records have come without an interruption, by log timestamps. */
  flowingSince: Micros;
}

/** Reads a partition's watermark under its row lock, making the row where there is none. */
export async function lockWatermark(
  tx: Sql | TransactionSql,
  { logId, topic, partition }: LogPartition,
): Promise<Watermark> {
  await tx`
    INSERT INTO watermarks (log_id, topic, partition, watermark, covered_at)
    VALUES (${logId}, ${topic}, ${partition}, -1, 'epoch')
    ON CONFLICT DO NOTHING`;
  return (await readWatermark(tx, { logId, topic, partition })) as Watermark;
}

/** The same without making the row: undefined where there is none. */
export async function readWatermark(
  tx: Sql | TransactionSql,
  { logId, topic, partition }: LogPartition,
): Promise<Watermark | undefined> {
  const [row] = await tx.unsafe<{ watermark: number; covered_at: Micros; flowing_since: Micros }[]>(
    `SELECT watermark, covered_at, flowing_since FROM watermarks
     WHERE log_id = ${literal(logId)} AND topic = ${literal(topic)} AND partition = ${partition}
     FOR UPDATE`,
  );
  if (row === undefined) return undefined;
  const { watermark: offset, covered_at: coveredAt, flowing_since: flowingSince } = row;
  return { offset, coveredAt, flowingSince };
}

/** Moves a watermark; the caller holds its row lock. */
export async function moveWatermark(
  tx: Sql | TransactionSql,
  { logId, topic, partition }: LogPartition,
  watermark: Watermark,
): Promise<void> {
  await tx.unsafe(
    `UPDATE watermarks
     SET watermark = ${watermark.offset}, covered_at = ${literal(formatMicros(watermark.coveredAt))},
       flowing_since = ${literal(formatMicros(watermark.flowingSince))}
     WHERE log_id = ${literal(logId)} AND topic = ${literal(topic)} AND partition = ${partition}`,
  );
}
