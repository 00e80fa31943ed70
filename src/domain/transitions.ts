import type { ActiveSilence, ActiveThreshold } from './active-rule.ts';
import type { Episode, Evidence, Fired, Resolved } from './alert.ts';
import { formatDuration } from './duration.ts';
import type { Reading } from './reading.ts';
import { isNoData, type Rule, type Scalar } from './rule.ts';
import type { Micros } from './time.ts';

export interface DeviceKey {
  userId: string;
  deviceId: string;
}

/** A partition's clock: log arrival times, so that our own lag and outages don't count as silence. */
export interface SilenceClock {
  /** Arrival of the last record that was committed. */
  at: Micros;
  /** Since when records have come without an interruption of the log's intake. */
  flowingSince: Micros;
  partition: number;
  /** Of that last record. */
  offset: number;
}

/** A value that a rule compared with its threshold. */
export interface Step {
  active: ActiveThreshold;
  reading: Reading;
  value: Scalar;
  version: number;
  evidence: Evidence;
}

/** The version is part of the id: a rule that was gone, and is back, may fire on the same reading. */
export function fire(
  { active, reading, value, version, evidence }: Step,
  holdingSince: Micros,
): Fired {
  const { userId, deviceId, time, sequenceId } = reading;
  const { rule } = active;
  const alertId = hash(['alert', userId, deviceId, rule.id, version, time, sequenceId]);
  return {
    type: 'FIRED',
    eventId: hash([alertId, 'FIRED']),
    alertId,
    userId,
    deviceId,
    rule,
    ruleVersion: version,
    message: renderMessage(rule, deviceId, value),
    value,
    time,
    holdingSince,
    eventTime: time,
    sequenceId,
    evidence,
  };
}

/** The version is part of the id: an edit may end an episode of the same silence. */
export function fireSilence(
  { rule, silenceMicros }: ActiveSilence,
  { userId, deviceId, lastArrivalAt }: DeviceKey & { lastArrivalAt: Micros },
  ruleVersion: number,
  quietSince: Micros,
  { partition, offset }: SilenceClock,
): Fired {
  const alertId = hash(['silence', userId, deviceId, rule.id, ruleVersion, lastArrivalAt]);
  const silent = formatDuration({ months: 0, days: 0, micros: silenceMicros });
  return {
    type: 'FIRED',
    eventId: hash([alertId, 'FIRED']),
    alertId,
    userId,
    deviceId,
    rule,
    ruleVersion,
    message: renderMessage(rule, deviceId, silent),
    value: null,
    time: quietSince + silenceMicros,
    holdingSince: quietSince,
    eventTime: null,
    sequenceId: null,
    evidence: { partition, offset, arrival: lastArrivalAt },
  };
}

export function resolve(
  { userId, deviceId }: DeviceKey,
  ruleId: string,
  { alertId }: Episode,
  end: Pick<Resolved, 'reason' | 'value' | 'time'>,
): Resolved {
  const eventId = hash([alertId, 'RESOLVED']);
  return { type: 'RESOLVED', eventId, alertId, userId, deviceId, ruleId, ...end };
}

/** Fills {value} {threshold} {key} {device_id} in a rule's message. */
export function renderMessage(rule: Rule, deviceId: string, value: Scalar): string {
  const measured = isNoData(rule) ? { threshold: rule.noData, key: '' } : rule;
  const { threshold, key } = measured;
  const values: Record<string, Scalar> = { value, threshold, key, device_id: deviceId };
  return rule.message.replace(/\{(value|threshold|key|device_id)\}/g, (_, name: string) =>
    String(values[name]),
  );
}

/** 128 bits of SHA-256 over an unambiguous encoding, as hex. */
export function hash(parts: (string | number)[]): string {
  const digest = new Bun.CryptoHasher('sha256').update(JSON.stringify(parts)).digest('hex');
  return digest.slice(0, 32);
}
