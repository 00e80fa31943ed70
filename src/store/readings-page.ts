import type { Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import type { DeviceKey } from './devices-by-key.ts';
import { keySql, type ReadingRow, readingColumns, readingOf } from './reading-columns.ts';
import { textArray } from './text-array.ts';

export interface ReadingPosition {
  time: Micros;
  sequenceId: number;
}

export interface ReadingsPage {
  from: Micros | null;
  /** Exclusive. */
  to: Micros | null;
  order: 'ASC' | 'DESC';
  after: ReadingPosition | null;
  /** Of each device. */
  limit: number;
}

/**
 * Readings of each of these devices by (time, sequence_id), from behind `after`: a range of the
 * index a device, one statement for all. The bound on time alone is implied by the one on the pair;
 * it is there for the index and for leaving out partitions.
 */
export async function readingsPages(
  sql: Sql,
  model: Model,
  devices: readonly DeviceKey[],
  page: ReadingsPage,
): Promise<Reading[]> {
  const { owner, device, sequence } = keySql(sql, model);
  const { after, from, to } = page;
  const descending = page.order === 'DESC';
  const order = descending ? sql`time DESC, sequence_id DESC` : sql`time, sequence_id`;
  const behind =
    after === null
      ? sql``
      : descending
        ? sql`AND time <= ${after.time} AND (time, ${sequence}) < (${after.time}, ${after.sequenceId})`
        : sql`AND time >= ${after.time} AND (time, ${sequence}) > (${after.time}, ${after.sequenceId})`;
  const rows = await sql<ReadingRow[]>`
    SELECT page.* FROM unnest(${textArray(devices.map((device) => device.userId))}::text[],
      ${textArray(devices.map((device) => device.deviceId))}::text[]) AS wanted (u, d)
    CROSS JOIN LATERAL (
      SELECT ${readingColumns(sql, model)} FROM ${sql(model.table)}
      WHERE ${owner} = wanted.u AND ${device} = wanted.d
        ${from === null ? sql`` : sql`AND time >= ${from}`}
        ${to === null ? sql`` : sql`AND time < ${to}`}
        ${behind}
      ORDER BY ${order} LIMIT ${page.limit}::int) AS page
    ORDER BY ${order}`;
  return rows.map((row) => readingOf(row, model));
}
