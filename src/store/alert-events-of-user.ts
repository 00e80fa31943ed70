import type { AlertEvent } from '../domain/alert.ts';
import { type AlertEventRow, alertEventColumns, alertEventOf } from './alert-event-columns.ts';
import type { Sql } from './connection.ts';

/**
 * One user's next `limit` transitions with after < seq <= upTo, in order of seq: a range of
 * alert_events_user_seq, however many events the others have. Fewer than `limit` are all of them.
 */
export async function alertEventsOfUser(
  sql: Sql,
  range: { userId: string; after: number; upTo: number; limit: number },
): Promise<AlertEvent[]> {
  const rows = await sql<AlertEventRow[]>`
    SELECT ${alertEventColumns(sql)} FROM alert_events
    WHERE user_id = ${range.userId} AND seq > ${range.after}::bigint AND seq <= ${range.upTo}::bigint
    ORDER BY seq LIMIT ${range.limit}::int`;
  return rows.map(alertEventOf);
}
