import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/** How far a partition has been read, by the times at which its records arrived. */
export interface LogClock {
  partition: number;
  /** Of the last record that was committed. */
  at: Micros;
  flowingSince: Micros;
}

/** The clocks of all partitions of the log that was read last, by partition. */
export async function logClocks(sql: Sql): Promise<LogClock[]> {
  return await sql<LogClock[]>`
    SELECT partition, covered_at AS at, flowing_since AS "flowingSince" FROM watermarks
    WHERE (log_id, topic) = (
      SELECT log_id, topic FROM watermarks ORDER BY covered_at DESC, log_id, topic LIMIT 1)
    ORDER BY partition`;
}
