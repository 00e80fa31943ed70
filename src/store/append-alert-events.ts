import type { AlertEvent, AlertEventType } from '../domain/alert.ts';
import type { Scalar } from '../domain/rule.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import { ALERT_EVENT_COLUMNS, type AlertEventRow, alertEventOf } from './alert-event-columns.ts';
import type { TransactionSql } from './connection.ts';
import { jsonLiteral } from './literal.ts';
import { LOCKS } from './migrations.ts';

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
  const locked = tx.unsafe(`SELECT pg_advisory_xact_lock(${LOCKS.alertSeq})`);
  const appended = tx.unsafe<AlertEventRow[]>(
    `INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id,
      severity, message, key, operator, threshold, value, time, started_at, actor, snoozed_until,
      muted, traceparent)
    SELECT nextval('alert_events_seq'), e.* FROM (
      SELECT r.id, r.alert_id, r.type,
        CASE r.type WHEN 'FIRED' THEN 'FIRING' WHEN 'RESOLVED' THEN 'RESOLVED' ELSE a.status END,
        a.user_id, a.device_id, a.rule_id, a.severity, a.message, a.key, a.operator, a.threshold,
        CASE WHEN r.has_value THEN nullif(r.value, 'null') ELSE a.value END,
        coalesce(r.time, clock_timestamp()), a.started_at, r.actor, r.snoozed_until, a.muted,
        r.traceparent
      FROM json_to_recordset(${jsonLiteral(rows)}) AS r(
        position integer, id text, alert_id text, type text, has_value boolean, value jsonb,
        time timestamptz, actor text, snoozed_until timestamptz, traceparent text)
      JOIN alerts a ON a.id = r.alert_id
      ORDER BY r.position) e
    ON CONFLICT (id) DO NOTHING
    RETURNING ${ALERT_EVENT_COLUMNS}`,
  );
  const [, rowsAppended] = await Promise.all([locked, appended]);
  return rowsAppended.map(alertEventOf).sort((a, b) => a.seq - b.seq);
}
