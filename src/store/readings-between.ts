import type { Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import type { DeviceKey } from './devices-by-key.ts';
import { keySql, type ReadingRow, readingColumns, readingOf } from './reading-columns.ts';
import type { ReadingPosition } from './readings-page.ts';
import { textArray } from './text-array.ts';

export interface ReadingRange extends DeviceKey {
  /** Exclusive; null from the first. */
  after: ReadingPosition | null;
  /** Inclusive. */
  upTo: Micros;
}

/**
 * Several devices' readings in their ranges, each device's by (time, sequence_id), at most `limit`
 * of each: one range of the device's index a device, one statement for all.
 */
export async function readingsBetween(
  sql: Sql,
  model: Model,
  { ranges, limit }: { ranges: readonly ReadingRange[]; limit: number },
): Promise<Reading[]> {
  const { owner, device, sequence } = keySql(sql, model);
  const column = (value: (range: ReadingRange) => string) => textArray(ranges.map(value));
  const rows = await sql<ReadingRow[]>`
    SELECT found.* FROM unnest(
      ${column((range) => range.userId)}::text[],
      ${column((range) => range.deviceId)}::text[],
      ${column(({ after }) => (after === null ? '-infinity' : formatMicros(after.time)))}::timestamptz[],
      ${column(({ after }) => String(after?.sequenceId ?? 0))}::bigint[],
      ${column(({ upTo }) => formatMicros(upTo))}::timestamptz[]
    ) WITH ORDINALITY AS wanted (u, d, after_time, after_sequence, up_to, n)
    CROSS JOIN LATERAL (
      SELECT ${readingColumns(sql, model)} FROM ${sql(model.table)}
      WHERE ${owner} = wanted.u AND ${device} = wanted.d
        AND time >= wanted.after_time AND time <= wanted.up_to
        AND (time, ${sequence}) > (wanted.after_time, wanted.after_sequence)
      ORDER BY time, sequence_id LIMIT ${limit}::int) AS found
    ORDER BY wanted.n, found.time, found.sequence_id`;
  return rows.map((row) => readingOf(row, model));
}
