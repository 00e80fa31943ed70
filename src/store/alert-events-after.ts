import type { AlertEvent } from '../domain/alert.ts';
import { type AlertEventRow, alertEventColumns, alertEventOf } from './alert-event-columns.ts';
import type { Sql } from './connection.ts';

/** The next `limit` transitions of all users with a seq above `after`, in order of seq: a primary key range. */
export async function alertEventsAfter(
  sql: Sql,
  { after, limit }: { after: number; limit: number },
): Promise<AlertEvent[]> {
  const rows = await sql<AlertEventRow[]>`
    SELECT ${alertEventColumns(sql)} FROM alert_events
    WHERE seq > ${after}::bigint ORDER BY seq LIMIT ${limit}::int`;
  return rows.map(alertEventOf);
}
