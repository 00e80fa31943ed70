import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import type { DeviceKey } from './devices-by-key.ts';
import { textArray } from './text-array.ts';

/** How far one device has come. */
export interface DeviceHead extends DeviceKey {
  /** Grows with every batch that holds something of the device. */
  version: number;
  /** Of its readings that were not FUTURE; null before the first. */
  newestTime: Micros | null;
}

/** The heads of those of the devices that have sent something: a primary key probe each. */
export async function deviceHeads(sql: Sql, devices: readonly DeviceKey[]): Promise<DeviceHead[]> {
  return await sql<DeviceHead[]>`
    SELECT user_id AS "userId", device_id AS "deviceId", version, newest_time AS "newestTime"
    FROM unnest(${textArray(devices.map((device) => device.userId))}::text[],
                ${textArray(devices.map((device) => device.deviceId))}::text[])
      AS wanted (user_id, device_id)
    JOIN device_state USING (user_id, device_id)`;
}
