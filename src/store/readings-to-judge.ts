import type { JsonObject } from '../domain/json.ts';
import type { Columns, ColumnValues, Model } from '../domain/model.ts';
import { pointKey } from '../domain/point.ts';
import type { Reading } from '../domain/reading.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { columnValue, keySql } from './reading-columns.ts';
import type { ReadingPosition } from './readings-page.ts';
import { textArray } from './text-array.ts';

export interface JudgedReadings {
  userId: string;
  /** Where each device's page begins, exclusive. */
  devices: readonly { deviceId: string; after: ReadingPosition }[];
  /** Exclusive. */
  to: Micros;
  /** What is looked at of each: a declared column, or a path into the rest; null for nothing. */
  key: string | null;
  /** Of each device. */
  limit: number;
}

/** Behind no reading: where the first page begins. */
export function justBefore(time: Micros): ReadingPosition {
  return { time, sequenceId: -1 };
}

/** The declared column that holds what the key names; null where it is a path into the rest. */
function columnOf({ columns }: Model, key: string): string | null {
  return Object.hasOwn(columns, key) ? key : (pointKey(columns, key)?.column ?? null);
}

type Row = [deviceId: string, time: Micros, sequenceId: number, value: unknown];

/**
 * The next readings of several devices, each device's by (time, sequence_id), with nothing but what
 * one rule needs of them. 43,200 of one device in pages of 5,000 take some 300 ms.
 */
export async function readingsToJudge(
  sql: Sql,
  model: Model,
  { userId, devices, to, key, limit }: JudgedReadings,
): Promise<Reading[]> {
  const { owner, device, sequence } = keySql(sql, model);
  const name = key === null ? null : columnOf(model, key);
  const value = key === null ? sql`NULL::int` : sql(name ?? model.extraColumn);
  const rows = (await sql`
    SELECT wanted.d, found.* FROM unnest(
      ${textArray(devices.map(({ deviceId }) => deviceId))}::text[],
      ${textArray(devices.map(({ after }) => formatMicros(after.time)))}::timestamptz[],
      ${textArray(devices.map(({ after }) => String(after.sequenceId)))}::bigint[]
    ) WITH ORDINALITY AS wanted (d, after_time, after_sequence, n)
    CROSS JOIN LATERAL (
      SELECT (extract(epoch FROM time) * 1000000)::bigint AS micros,
        ${sequence} AS sequence_id, ${value}
      FROM ${sql(model.table)}
      WHERE ${owner} = ${userId} AND ${device} = wanted.d
        AND time >= wanted.after_time AND time < ${formatMicros(to)}::timestamptz
        AND (time, ${sequence}) > (wanted.after_time, wanted.after_sequence)
      ORDER BY time, sequence_id LIMIT ${limit}::int) AS found
    ORDER BY wanted.n, found.micros, found.sequence_id`.values()) as unknown as Row[];
  return rows.map(([deviceId, time, sequenceId, found]) => ({
    time,
    userId,
    deviceId,
    sequenceId,
    columns: (name === null
      ? {}
      : { [name]: columnValue(found, model.columns[name]) }) as ColumnValues<Columns>,
    extra: name !== null || key === null ? null : (found as JsonObject | null),
  }));
}

/** Those of the devices that have a reading from before a time: one index probe each. */
export async function devicesHeardBefore(
  sql: Sql,
  model: Model,
  asked: { userId: string; deviceIds: readonly string[]; before: Micros },
): Promise<Set<string>> {
  const { owner, device } = keySql(sql, model);
  const { userId, deviceIds, before } = asked;
  const rows = await sql<{ d: string }[]>`
    SELECT d FROM unnest(${textArray(deviceIds)}::text[]) AS wanted (d)
    WHERE EXISTS (SELECT FROM ${sql(model.table)}
                  WHERE ${owner} = ${userId} AND ${device} = wanted.d AND time < ${before})`;
  return new Set(rows.map((row) => row.d));
}
