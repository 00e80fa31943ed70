import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import type { LogPartition } from './watermark.ts';

export interface StoredWatermark {
  partition: number;
  /** The highest offset whose effects are stored; -1 before the first. */
  watermark: number;
  /** The newest log timestamp among the records covered; the epoch before the first. */
  coveredAt: Micros;
}

/** The watermarks of all partitions of a log that were ever read, whoever reads them now. */
export async function readWatermarks(
  sql: Sql,
  { logId, topic }: Omit<LogPartition, 'partition'>,
): Promise<StoredWatermark[]> {
  return await sql<StoredWatermark[]>`
    SELECT partition, watermark, covered_at AS "coveredAt" FROM watermarks
    WHERE log_id = ${logId} AND topic = ${topic} ORDER BY partition`;
}
