import type { Sql } from './connection.ts';
import { type DeviceRow, deviceColumns } from './device-columns.ts';
import { textArray } from './text-array.ts';

export interface DevicesPage {
  /** A name: those above it. */
  after: string | null;
  /** Only those whose name holds it, in any case. */
  search: string | null;
  /** Of each user. */
  limit: number;
}

/** Each of these users' devices by name: a range of the primary key a user, one statement for all. */
export async function devicesPages(
  sql: Sql,
  userIds: readonly string[],
  { after, search, limit }: DevicesPage,
): Promise<DeviceRow[]> {
  return await sql<DeviceRow[]>`
    SELECT page.* FROM unnest(${textArray(userIds)}::text[]) AS wanted (u)
    CROSS JOIN LATERAL (
      SELECT ${deviceColumns(sql)} FROM device_state
      WHERE user_id = wanted.u AND device_id > ${after ?? ''}
        ${search ? sql`AND position(lower(${search}) IN lower(device_id)) > 0` : sql``}
      ORDER BY device_id LIMIT ${limit}::int) AS page
    ORDER BY page."deviceId"`;
}
