import type { Sql } from './connection.ts';
import { type DeviceRow, deviceColumns } from './device-columns.ts';

/** A user's devices by name, above `after`, all or those whose name holds `search`, in any case. */
export async function devicesPage(
  sql: Sql,
  page: { userId: string; after: string | null; search: string | null; limit: number },
): Promise<DeviceRow[]> {
  return await sql<DeviceRow[]>`
    SELECT ${deviceColumns(sql)} FROM device_state
    WHERE user_id = ${page.userId} AND device_id > ${page.after ?? ''}
      ${page.search ? sql`AND position(lower(${page.search}) IN lower(device_id)) > 0` : sql``}
    ORDER BY device_id LIMIT ${page.limit}::int`;
}
