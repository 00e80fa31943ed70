import type { AlertStatus, ResolveReason } from '../domain/alert.ts';
import type { Operator, Scalar, Severity } from '../domain/rule.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/** One episode, with the reading that made it fire. */
export interface AlertRow {
  id: string;
  userId: string;
  deviceId: string;
  ruleId: string;
  ruleVersion: number;
  status: AlertStatus;
  severity: Severity;
  message: string;
  key: string | null;
  operator: Operator | null;
  threshold: Scalar | null;
  value: Scalar | null;
  startedAt: Micros;
  lastSeenAt: Micros;
  resolvedAt: Micros | null;
  resolveReason: ResolveReason | null;
  acknowledgedAt: Micros | null;
  acknowledgedBy: string | null;
  /** While its rule is snoozed on its device, during this episode or another. */
  snoozedUntil: Micros | null;
  partition: number;
  offset: number;
  /** Since when the rule held when it fired, or since when nothing had come. */
  holdingSince: Micros;
  /** Of the reading that made it fire; null for silence. */
  sequenceId: number | null;
  eventTime: Micros | null;
  arrivalTime: Micros;
}

/** The columns of alerts that make an `AlertRow`, for the select list of a query on `alerts`. */
export const ALERT_COLUMNS = `id, user_id AS "userId", device_id AS "deviceId", rule_id AS "ruleId",
    rule_version AS "ruleVersion", status, severity, message, key, operator, threshold, value,
    started_at AS "startedAt", last_seen_at AS "lastSeenAt", resolved_at AS "resolvedAt",
    resolve_reason AS "resolveReason", acknowledged_at AS "acknowledgedAt",
    acknowledged_by AS "acknowledgedBy", (
      SELECT until FROM snoozes s
      WHERE (s.user_id, s.device_id, s.rule_id) =
            (alerts.user_id, alerts.device_id, alerts.rule_id) AND until > now()
    ) AS "snoozedUntil", partition, "offset", sequence_id AS "sequenceId",
    coalesce(holding_since, started_at) AS "holdingSince", event_time AS "eventTime",
    arrival_time AS "arrivalTime"`;

/** The same as part of a statement. */
export function alertColumns(sql: Sql) {
  return sql.unsafe(ALERT_COLUMNS);
}
