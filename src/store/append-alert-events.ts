import type { AlertEvent, AlertEventType } from '../domain/alert.ts';
import type { Scalar } from '../domain/rule.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import { ALERT_EVENT_COLUMNS, type AlertEventRow, alertEventOf } from './alert-event-columns.ts';
import type { TransactionSql } from './connection.ts';
import { jsonLiteral } from './literal.ts';

/** An event of an alert that is stored. What is left out is as the alert has it. */
export interface NewAlertEvent {
  id: string;
  alertId: string;
  type: AlertEventType;
  value?: Scalar | null;
  /** Left out: now, by the database's clock. */
  time?: Micros;
  actor?: string;
  snoozedUntil?: Micros;
  traceparent?: string;
}

/**
 * Appends to the outbox, in this order; what is there already, by id, stays as it is. Takes the lock
 * that keeps `seq` in commit order, so this comes last in a transaction, behind every other lock.
 * The events are muted where their alerts are.
 *
 * @returns those that were not there, in order of seq: for others to hear of once this is committed
 */
export async function appendEvents(
  tx: TransactionSql,
  events: readonly NewAlertEvent[],
): Promise<AlertEvent[]> {
  const rows = await tx.unsafe<AlertEventRow[]>(appendStatement(events));
  return alertEventsOf(rows);
}

/** The same as a statement, which gives rows. */
export function appendStatement(events: readonly NewAlertEvent[]): string {
  const rows = events.map((event, position) => ({
    position,
    id: event.id,
    alert_id: event.alertId,
    type: event.type,
    has_value: event.value !== undefined,
    value: event.value,
    time: event.time === undefined ? null : formatMicros(event.time),
    actor: event.actor,
    snoozed_until: event.snoozedUntil === undefined ? null : formatMicros(event.snoozedUntil),
    traceparent: event.traceparent,
  }));
  return `SELECT ${ALERT_EVENT_COLUMNS} FROM pulsegraph_append_events(${jsonLiteral(rows)})`;
}

export function alertEventsOf(rows: readonly AlertEventRow[]): AlertEvent[] {
  return rows.map(alertEventOf).sort((a, b) => a.seq - b.seq);
}
