import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import type { DeviceKey } from './devices-by-key.ts';
import { textArray } from './text-array.ts';

export interface Snooze extends DeviceKey {
  ruleId: string;
  until: Micros;
}

/** The snoozes of these devices that are not over: a range of the primary key each. */
export async function snoozesOf(sql: Sql, devices: readonly DeviceKey[]): Promise<Snooze[]> {
  return await sql<Snooze[]>`
    SELECT user_id AS "userId", device_id AS "deviceId", rule_id AS "ruleId", until FROM snoozes
    WHERE until > clock_timestamp() AND (user_id, device_id) IN (
      SELECT * FROM unnest(${textArray(devices.map((device) => device.userId))}::text[],
                           ${textArray(devices.map((device) => device.deviceId))}::text[]))`;
}
