import type { AlertEvent } from '../domain/alert.ts';
import { type AlertEventRow, alertEventColumns, alertEventOf } from './alert-event-columns.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/** All transitions of the given alerts, by seq. */
export async function alertEventsOf(sql: Sql, alertIds: readonly string[]): Promise<AlertEvent[]> {
  const rows = await sql<AlertEventRow[]>`
    SELECT ${alertEventColumns(sql)} FROM alert_events
    WHERE alert_id = ANY (${textArray(alertIds)}::text[]) ORDER BY alert_id, seq`;
  return rows.map(alertEventOf);
}
