import type { AlertEvent } from '../domain/alert.ts';
import type { Sql } from './connection.ts';

/** The columns of alert_events that make an `AlertEvent`, for a select list. */
export const ALERT_EVENT_COLUMNS =
  'seq, id, alert_id, type, status, user_id, device_id, rule_id, severity, message, key, ' +
  'operator, threshold, value, time, started_at, actor, snoozed_until, muted, traceparent';

/** The same as part of a statement. */
export function alertEventColumns(sql: Sql) {
  return sql.unsafe(ALERT_EVENT_COLUMNS);
}

/** A row of those columns. */
export interface AlertEventRow {
  seq: number;
  id: string;
  alert_id: string;
  type: AlertEvent['type'];
  status: AlertEvent['status'];
  user_id: string;
  device_id: string;
  rule_id: string;
  severity: AlertEvent['severity'];
  message: string;
  key: string | null;
  operator: AlertEvent['operator'];
  threshold: AlertEvent['threshold'];
  value: AlertEvent['value'];
  time: number;
  started_at: number;
  actor: string | null;
  snoozed_until: number | null;
  muted: boolean;
  traceparent: string | null;
}

export function alertEventOf(row: AlertEventRow): AlertEvent {
  return {
    seq: row.seq,
    id: row.id,
    alertId: row.alert_id,
    type: row.type,
    status: row.status,
    userId: row.user_id,
    deviceId: row.device_id,
    ruleId: row.rule_id,
    severity: row.severity,
    message: row.message,
    key: row.key,
    operator: row.operator,
    threshold: row.threshold,
    value: row.value,
    time: row.time,
    startedAt: row.started_at,
    actor: row.actor,
    snoozedUntil: row.snoozed_until,
    muted: row.muted,
    traceparent: row.traceparent,
  };
}
