import type { Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import { formatMicros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import type { DeviceKey } from './devices-by-key.ts';
import { keySql, type ReadingRow, readingColumns, readingOf } from './reading-columns.ts';
import type { ReadingPosition } from './readings-page.ts';
import { textArray } from './text-array.ts';

export interface ReadingKey extends DeviceKey, ReadingPosition {}

/** Those of the readings that are still stored, in any order: one probe of the primary key each. */
export async function readingsByKey(
  sql: Sql,
  model: Model,
  keys: readonly ReadingKey[],
): Promise<Reading[]> {
  const { owner, device, sequence } = keySql(sql, model);
  const column = (value: (key: ReadingKey) => string) => textArray(keys.map(value));
  const rows = await sql<ReadingRow[]>`
    SELECT found.* FROM unnest(
      ${column((key) => formatMicros(key.time))}::timestamptz[],
      ${column((key) => key.userId)}::text[],
      ${column((key) => key.deviceId)}::text[],
      ${column((key) => String(key.sequenceId))}::bigint[]) AS wanted (t, u, d, s)
    CROSS JOIN LATERAL (
      SELECT ${readingColumns(sql, model)} FROM ${sql(model.table)}
      WHERE time = wanted.t AND ${owner} = wanted.u AND ${device} = wanted.d
        AND ${sequence} = wanted.s LIMIT 1) AS found`;
  return rows.map((row) => readingOf(row, model));
}
