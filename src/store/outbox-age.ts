import type { Sql } from './connection.ts';

/**
 * Seconds since the oldest transition was committed that the publisher has not marked as sent, by
 * the database's clock; 0 where there is none. One probe of the primary key, from any process.
 */
export async function outboxAgeSeconds(sql: Sql): Promise<number> {
  const [row] = await sql<{ age: number }[]>`
    SELECT greatest(0, extract(epoch FROM clock_timestamp() - created_at))::float8 AS age
    FROM alert_events
    WHERE seq > coalesce((SELECT seq FROM publisher_positions WHERE stream = 'alerts'), 0)
    ORDER BY seq LIMIT 1`;
  return row?.age ?? 0;
}
