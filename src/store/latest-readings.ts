import type { Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import type { Sql } from './connection.ts';
import type { DeviceKey } from './devices-by-key.ts';
import { keySql, type ReadingRow, readingColumns, readingOf } from './reading-columns.ts';
import { textArray } from './text-array.ts';

/** Each device's newest reading by event time: one index probe a device, one statement for all. */
export async function latestReadings(
  sql: Sql,
  model: Model,
  devices: readonly DeviceKey[],
): Promise<Reading[]> {
  const { owner, device } = keySql(sql, model);
  const rows = await sql<ReadingRow[]>`
    SELECT newest.* FROM unnest(${textArray(devices.map((device) => device.userId))}::text[],
      ${textArray(devices.map((device) => device.deviceId))}::text[]) AS wanted (u, d)
    CROSS JOIN LATERAL (
      SELECT ${readingColumns(sql, model)} FROM ${sql(model.table)}
      WHERE ${owner} = wanted.u AND ${device} = wanted.d
      ORDER BY time DESC, sequence_id DESC LIMIT 1) AS newest`;
  return rows.map((row) => readingOf(row, model));
}
