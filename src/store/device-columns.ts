import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/** A device that has sent something. Both times are of arrival in the log. */
export interface DeviceRow {
  userId: string;
  deviceId: string;
  firstSeenAt: Micros;
  lastSeenAt: Micros;
}

/** The columns of device_state that make a `DeviceRow`, for a select list. */
export function deviceColumns(sql: Sql) {
  return sql`user_id AS "userId", device_id AS "deviceId", first_seen_at AS "firstSeenAt",
    last_arrival_at AS "lastSeenAt"`;
}
