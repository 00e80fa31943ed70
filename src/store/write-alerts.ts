import type { AlertEvent, Fired, Held, Resolved, Transition } from '../domain/alert.ts';
import { isNoData, type Rule } from '../domain/rule.ts';
import { formatMicros } from '../domain/time.ts';
import { appendEvents } from './append-alert-events.ts';
import type { TransactionSql } from './connection.ts';
import { jsonLiteral } from './literal.ts';

/**
 * Writes a batch's new episodes, and moves or ends those that were open. Ids are deterministic, so
 * what is there already stays as it is.
 */
export async function writeAlerts(
  tx: TransactionSql,
  transitions: readonly Transition[],
  held: Iterable<Held>,
): Promise<void> {
  const fired = transitions.filter((t): t is Fired => t.type === 'FIRED');
  const resolved = transitions.filter((t): t is Resolved => t.type === 'RESOLVED');
  const holding = [...held];
  // Sent in this order, and waited for at once.
  const statements = [
    fired.length > 0 && insertEpisodes(tx, fired),
    holding.length > 0 && moveEpisodes(tx, holding),
    resolved.length > 0 && endEpisodes(tx, resolved),
  ];
  await Promise.all(statements);
}

async function moveEpisodes(tx: TransactionSql, held: readonly Held[]): Promise<void> {
  const rows = held.map((h) => ({
    id: h.alertId,
    last_seen_at: formatMicros(h.lastSeenAt),
    value: h.value,
  }));
  await tx.unsafe(
    `UPDATE alerts a SET last_seen_at = r.last_seen_at, value = r.value
     FROM json_to_recordset(${jsonLiteral(rows)})
       AS r(id text, last_seen_at timestamptz, value jsonb)
     WHERE a.id = r.id AND a.status = 'FIRING'`,
  );
}

async function endEpisodes(tx: TransactionSql, resolved: readonly Resolved[]): Promise<void> {
  const rows = resolved.map((r) => ({
    id: r.alertId,
    resolved_at: formatMicros(r.time),
    reason: r.reason,
  }));
  await tx.unsafe(
    `UPDATE alerts a SET status = 'RESOLVED', resolved_at = r.resolved_at,
       resolve_reason = r.reason
     FROM json_to_recordset(${jsonLiteral(rows)})
       AS r(id text, resolved_at timestamptz, reason text)
     WHERE a.id = r.id AND a.status = 'FIRING'`,
  );
}

/**
 * Those whose rule is snoozed on their device are muted. Their snoozes are locked, before any alert:
 * nobody ends one without seeing what it has muted.
 */
async function insertEpisodes(tx: TransactionSql, fired: readonly Fired[]): Promise<void> {
  const rows = fired.map((f) => ({
    id: f.alertId,
    user_id: f.userId,
    device_id: f.deviceId,
    rule_id: f.rule.id,
    rule_version: f.ruleVersion,
    severity: f.rule.severity,
    message: f.message,
    ...measured(f.rule),
    value: f.value,
    time: formatMicros(f.time),
    partition: f.evidence.partition,
    log_offset: f.evidence.offset,
    holding_since: formatMicros(f.holdingSince),
    event_time: f.eventTime === null ? null : formatMicros(f.eventTime),
    sequence_id: f.sequenceId,
    arrival_time: formatMicros(f.evidence.arrival),
  }));
  await tx.unsafe(
    `WITH r AS MATERIALIZED (SELECT * FROM json_to_recordset(${jsonLiteral(rows)}) AS r(
      id text, user_id text, device_id text, rule_id text, rule_version integer, severity text,
      message text, key text, operator text, threshold jsonb, value jsonb, time timestamptz,
      holding_since timestamptz, event_time timestamptz, partition integer, log_offset bigint,
      sequence_id bigint, arrival_time timestamptz)),
    snoozed AS MATERIALIZED (
      SELECT s.user_id, s.device_id, s.rule_id FROM snoozes s
      WHERE (s.user_id, s.device_id, s.rule_id) IN (SELECT user_id, device_id, rule_id FROM r)
        AND s.until > clock_timestamp()
      FOR SHARE)
    INSERT INTO alerts (id, user_id, device_id, rule_id, rule_version, status, severity, message,
      key, operator, threshold, value, started_at, last_seen_at, holding_since,
      partition, "offset", sequence_id, event_time, arrival_time, muted)
    SELECT id, r.user_id, r.device_id, r.rule_id, rule_version, 'FIRING', severity, message,
      key, operator, nullif(threshold, 'null'), nullif(value, 'null'), time, time, holding_since,
      partition, log_offset, sequence_id, event_time, arrival_time, snoozed.user_id IS NOT NULL
    FROM r LEFT JOIN snoozed USING (user_id, device_id, rule_id)
    ORDER BY id
    ON CONFLICT DO NOTHING`,
  );
}

/** What a rule measures, as its alert tells it. */
function measured(rule: Rule) {
  if (isNoData(rule)) return { key: null, operator: null, threshold: rule.noData };
  return { key: rule.key, operator: rule.operator, threshold: rule.threshold };
}

/** Appends the transitions to the outbox: last in a transaction, see `appendEvents`. */
export async function appendAlertEvents(
  tx: TransactionSql,
  transitions: readonly Transition[],
): Promise<AlertEvent[]> {
  const events = transitions.map(({ eventId, alertId, type, value, time, traceparent }) => ({
    id: eventId,
    alertId,
    type,
    value,
    time,
    traceparent,
  }));
  return await appendEvents(tx, events);
}
