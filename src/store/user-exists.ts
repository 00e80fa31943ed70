import type { Sql } from './connection.ts';

/** Whether the user has a device or a config: two primary key probes. */
export async function userExists(sql: Sql, userId: string): Promise<boolean> {
  const [row] = await sql<{ found: boolean }[]>`
    SELECT EXISTS (SELECT FROM device_state WHERE user_id = ${userId})
        OR EXISTS (SELECT FROM user_configs WHERE user_id = ${userId}) AS found`;
  return row?.found ?? false;
}
