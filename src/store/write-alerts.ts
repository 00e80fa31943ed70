import type { AlertEvent, Fired, Held, Resolved, Transition } from '../domain/alert.ts';
import { isNoData, type Rule } from '../domain/rule.ts';
import { formatMicros } from '../domain/time.ts';
import { appendEvents, type NewAlertEvent } from './append-alert-events.ts';
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
  const statement = alertsStatement(transitions, held);
  if (statement !== null) await tx.unsafe(statement);
}

/** The same as a statement; null where nothing is to be written. */
export function alertsStatement(
  transitions: readonly Transition[],
  held: Iterable<Held>,
): string | null {
  const fired = transitions.filter((t): t is Fired => t.type === 'FIRED').map(firedRow);
  const resolved = transitions.filter((t): t is Resolved => t.type === 'RESOLVED').map(endedRow);
  const lists = [fired, [...held].map(heldRow), resolved];
  if (lists.every((rows) => rows.length === 0)) return null;
  const texts = lists.map((rows) => (rows.length === 0 ? 'NULL' : jsonLiteral(rows)));
  return `SELECT pulsegraph_write_alerts(${texts.join(', ')})`;
}

function heldRow(held: Held) {
  return { id: held.alertId, last_seen_at: formatMicros(held.lastSeenAt), value: held.value };
}

function endedRow(resolved: Resolved) {
  const { alertId: id, time, reason } = resolved;
  return { id, resolved_at: formatMicros(time), reason };
}

function firedRow(fired: Fired) {
  return {
    id: fired.alertId,
    user_id: fired.userId,
    device_id: fired.deviceId,
    rule_id: fired.rule.id,
    rule_version: fired.ruleVersion,
    severity: fired.rule.severity,
    message: fired.message,
    ...measured(fired.rule),
    value: fired.value,
    time: formatMicros(fired.time),
    partition: fired.evidence.partition,
    log_offset: fired.evidence.offset,
    holding_since: formatMicros(fired.holdingSince),
    event_time: fired.eventTime === null ? null : formatMicros(fired.eventTime),
    sequence_id: fired.sequenceId,
    arrival_time: formatMicros(fired.evidence.arrival),
  };
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
  return await appendEvents(tx, transitions.map(eventOf));
}

/** The event of a transition. */
export function eventOf(transition: Transition): NewAlertEvent {
  const { eventId: id, alertId, type, value, time, traceparent } = transition;
  return { id, alertId, type, value, time, traceparent };
}
