import type { AlertEvent } from '../domain/alert.ts';
import { ALERT_EVENT_COLUMNS, type AlertEventRow, alertEventOf } from './alert-event-columns.ts';
import type { Sql } from './connection.ts';

/** The next `limit` transitions of all users with a seq above `after`, in order of seq: a primary key range. */
export async function alertEventsAfter(
  sql: Sql,
  { after, limit }: { after: number; limit: number },
): Promise<AlertEvent[]> {
  const rows = await sql.unsafe<AlertEventRow[]>(
    `SELECT ${ALERT_EVENT_COLUMNS} FROM alert_events
     WHERE seq > ${after} ORDER BY seq LIMIT ${limit}`,
  );
  return rows.map(alertEventOf);
}
