import type { Sql } from './connection.ts';
import { type DeviceRow, deviceColumns } from './device-columns.ts';
import { textArray } from './text-array.ts';

export interface DeviceKey {
  userId: string;
  deviceId: string;
}

/** Those of the devices that exist, in any order: a primary key probe each. */
export async function devicesByKey(sql: Sql, keys: readonly DeviceKey[]): Promise<DeviceRow[]> {
  return await sql<DeviceRow[]>`
    SELECT ${deviceColumns(sql)} FROM device_state
    WHERE (user_id, device_id) IN (
      SELECT * FROM unnest(${textArray(keys.map((key) => key.userId))}::text[],
                           ${textArray(keys.map((key) => key.deviceId))}::text[]))`;
}
