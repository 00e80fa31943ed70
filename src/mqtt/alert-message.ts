import type { AlertEvent } from '../domain/alert.ts';
import { formatMicros } from '../domain/time.ts';

/**
 * What goes to users/{user}/alerts: a transition as it was then. `id` is the alert's, the same when
 * it fires and when it resolves; `event_id` is the transition's own, by which a repeated message is
 * known. `time` and `started_at` are event times, RFC 3339 in UTC; of what an `actor` did and of
 * REMINDED, `time` is when that was. SNOOZED has `snoozed_until`.
 */
export function alertMessage(event: AlertEvent): string {
  return JSON.stringify({
    id: event.alertId,
    event_id: event.id,
    seq: event.seq,
    type: event.type,
    status: event.status,
    user_id: event.userId,
    device_id: event.deviceId,
    rule_id: event.ruleId,
    severity: event.severity,
    message: event.message,
    key: event.key,
    operator: event.operator,
    threshold: event.threshold,
    value: event.value,
    time: formatMicros(event.time),
    started_at: formatMicros(event.startedAt),
    ...(event.actor === null ? {} : { actor: event.actor }),
    ...(event.snoozedUntil === null ? {} : { snoozed_until: formatMicros(event.snoozedUntil) }),
  });
}
