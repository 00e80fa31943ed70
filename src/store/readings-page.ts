import type { Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { type ReadingRow, readingColumns, readingOf } from './reading-columns.ts';

export interface ReadingPosition {
  time: Micros;
  sequenceId: number;
}

export interface ReadingsPage {
  userId: string;
  deviceId: string;
  from: Micros | null;
  /** Exclusive. */
  to: Micros | null;
  order: 'ASC' | 'DESC';
  after: ReadingPosition | null;
  limit: number;
}

/**
 * One device's readings by (time, sequence_id), from behind `after`. The bound on time alone is
 * implied by the one on the pair; it is there for the index and for leaving out partitions.
 */
export async function readingsPage(sql: Sql, model: Model, page: ReadingsPage): Promise<Reading[]> {
  const { after, from, to } = page;
  const descending = page.order === 'DESC';
  const behind =
    after === null
      ? sql``
      : descending
        ? sql`AND time <= ${after.time} AND (time, sequence_id) < (${after.time}, ${after.sequenceId})`
        : sql`AND time >= ${after.time} AND (time, sequence_id) > (${after.time}, ${after.sequenceId})`;
  const rows = await sql<ReadingRow[]>`
    SELECT ${readingColumns(sql, model)} FROM ${sql(model.table)}
    WHERE user_id = ${page.userId} AND device_id = ${page.deviceId}
      ${from === null ? sql`` : sql`AND time >= ${from}`}
      ${to === null ? sql`` : sql`AND time < ${to}`}
      ${behind}
    ORDER BY ${descending ? sql`time DESC, sequence_id DESC` : sql`time, sequence_id`}
    LIMIT ${page.limit}::int`;
  return rows.map((row) => readingOf(row, model));
}
