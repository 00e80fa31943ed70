import type { Sql } from './connection.ts';

/**
 * Names of the users that have a device or a config, in order, above `after`. Skips from user to
 * user through the primary keys, so that a page costs as many probes as it has users, however many
 * devices each has.
 */
export async function usersPage(
  sql: Sql,
  { after, limit }: { after: string | null; limit: number },
): Promise<string[]> {
  const from = after ?? '';
  const rows = await sql<{ user_id: string }[]>`
    WITH RECURSIVE owner AS (
      (SELECT user_id FROM device_state WHERE user_id > ${from} ORDER BY user_id LIMIT 1)
      UNION ALL
      SELECT (SELECT d.user_id FROM device_state d WHERE d.user_id > owner.user_id
              ORDER BY d.user_id LIMIT 1)
      FROM owner WHERE owner.user_id IS NOT NULL
    )
    SELECT user_id FROM (
      SELECT user_id FROM (SELECT user_id FROM owner LIMIT ${limit}::int) AS with_device
      UNION
      (SELECT user_id FROM user_configs WHERE user_id > ${from} ORDER BY user_id
       LIMIT ${limit}::int)
    ) AS known
    WHERE user_id IS NOT NULL ORDER BY user_id LIMIT ${limit}::int`;
  return rows.map((row) => row.user_id);
}
