import { numberOf } from './json.ts';
import { type Reading, valueAt } from './reading.ts';
import type { Operator, Rule, RuleSet, Scalar, Severity } from './rule.ts';
import type { Micros } from './time.ts';

export type AlertStatus = 'FIRING' | 'RESOLVED';
export type AlertEventType =
  | 'FIRED'
  | 'RESOLVED'
  | 'ACKNOWLEDGED'
  | 'SNOOZED'
  | 'UNSNOOZED'
  | 'REMINDED';
export type ResolveReason = 'CLEARED' | 'RULE_EDITED' | 'RULE_DELETED' | 'RULE_DISABLED';

/** A transition as it was then: a row of alert_events, and what goes to users/{user}/alerts. */
export interface AlertEvent {
  seq: number;
  id: string;
  alertId: string;
  type: AlertEventType;
  status: AlertStatus;
  userId: string;
  deviceId: string;
  ruleId: string;
  severity: Severity;
  message: string;
  key: string | null;
  operator: Operator | null;
  threshold: Scalar | null;
  value: Scalar | null;
  time: Micros;
  startedAt: Micros;
  actor: string | null;
}

/** An open episode, as a device's state carries it. */
export interface Episode {
  alertId: string;
  lastSeenAt: Micros;
}

/** What one rule remembers of one device. */
export interface RuleState {
  /** The last reading the rule took into account: what is not above it is LATE. */
  time: Micros;
  sequenceId: number;
  /** What the rule measured, `temperature >`: a rule that measures something else starts anew. */
  measures: string;
  episode: Episode | null;
}

/** What all of a user's rules remember of one device: `device_state.rules`. Never mutated. */
export interface RuleMemory {
  /** The version of the rules it was last brought in line with. */
  version: number;
  rules: Readonly<Record<string, RuleState>>;
}

export const NO_MEMORY: RuleMemory = { version: 0, rules: {} };

/** Where a reading stands in the log: an alert's evidence. */
export interface Evidence {
  partition: number;
  offset: number;
  arrival: Micros;
}

/** A new episode, with all that its row holds. */
export interface Fired {
  type: 'FIRED';
  eventId: string;
  alertId: string;
  userId: string;
  deviceId: string;
  rule: Rule;
  ruleVersion: number;
  message: string;
  value: Scalar;
  time: Micros;
  sequenceId: number;
  evidence: Evidence;
}

/** The end of an episode. */
export interface Resolved {
  type: 'RESOLVED';
  eventId: string;
  alertId: string;
  userId: string;
  deviceId: string;
  ruleId: string;
  reason: ResolveReason;
  /** The reading that cleared it; null where a change of the rules ended it. */
  value: Scalar | null;
  /** Event time: of the clearing reading, else the last time it was seen to hold. */
  time: Micros;
}

export type Transition = Fired | Resolved;

/** An open episode that a reading found still holding. */
export interface Held {
  alertId: string;
  lastSeenAt: Micros;
  value: Scalar;
}

export interface Evaluation {
  memory: RuleMemory;
  transitions: Transition[];
  held: Held[];
  /** How many rules had already seen this reading or a later one. */
  late: number;
}

/**
 * The reducer: one reading of one device against its user's rules. Pure; ids are hashes of the
 * reading's key, so that the same input gives the same alerts, wherever and whenever it runs.
 */
export function evaluate(
  before: RuleMemory,
  reading: Reading,
  ruleSet: RuleSet,
  evidence: Evidence,
): Evaluation {
  const { memory, transitions } = reconcile(before, reading, ruleSet);
  const result: Evaluation = { memory, transitions, held: [], late: 0 };
  if (ruleSet.effective.length === 0) return result;
  const rules: Record<string, RuleState> = { ...memory.rules };
  for (const rule of ruleSet.effective) {
    const value = comparable(valueAt(reading, rule.key), rule);
    if (value === null) continue;
    const state = rules[rule.id];
    if (state !== undefined && !isAfter(reading, state)) {
      result.late++;
      continue;
    }
    const open = state?.episode ?? null;
    let episode: Episode | null = null;
    if (holds(value, rule.operator, rule.threshold)) {
      if (open === null) {
        const fired = fire(rule, ruleSet.version, reading, value, evidence);
        result.transitions.push(fired);
        episode = { alertId: fired.alertId, lastSeenAt: reading.time };
      } else {
        result.held.push({ alertId: open.alertId, lastSeenAt: reading.time, value });
        episode = { alertId: open.alertId, lastSeenAt: reading.time };
      }
    } else if (open !== null) {
      result.transitions.push(
        resolve(reading, rule.id, open, { reason: 'CLEARED', value, time: reading.time }),
      );
    }
    rules[rule.id] = {
      time: reading.time,
      sequenceId: reading.sequenceId,
      measures: measures(rule),
      episode,
    };
  }
  result.memory = { version: memory.version, rules };
  return result;
}

/**
 * Brings a device's memory in line with a new version of the rules: an episode whose rule is gone,
 * disabled, or now measures something else is resolved. What a rule that stays remembers is kept.
 */
export function reconcile(
  memory: RuleMemory,
  device: { userId: string; deviceId: string },
  ruleSet: RuleSet,
): { memory: RuleMemory; transitions: Transition[] } {
  const transitions: Transition[] = [];
  if (memory.version === ruleSet.version) return { memory, transitions };
  const rules: Record<string, RuleState> = {};
  for (const [ruleId, state] of Object.entries(memory.rules)) {
    const effective = ruleSet.effective.find((rule) => rule.id === ruleId);
    const edited = effective !== undefined && measures(effective) !== state.measures;
    if (effective !== undefined && !edited) {
      rules[ruleId] = state;
      continue;
    }
    const disabled = ruleSet.rules.some((rule) => rule.id === ruleId && !rule.enabled);
    if (disabled) rules[ruleId] = { ...state, episode: null };
    if (state.episode === null) continue;
    const reason = edited ? 'RULE_EDITED' : disabled ? 'RULE_DISABLED' : 'RULE_DELETED';
    const time = state.episode.lastSeenAt;
    transitions.push(resolve(device, ruleId, state.episode, { reason, value: null, time }));
  }
  return { memory: { version: ruleSet.version, rules }, transitions };
}

function measures(rule: Rule): string {
  return `${rule.key} ${rule.operator}`;
}

function isAfter(reading: Reading, state: RuleState): boolean {
  return reading.time === state.time
    ? reading.sequenceId > state.sequenceId
    : reading.time > state.time;
}

/** The value as the rule can compare it; null where it can't: missing, another type, not finite. */
function comparable(value: unknown, rule: Rule): Scalar | null {
  if (typeof rule.threshold !== 'number') {
    return typeof value === typeof rule.threshold ? (value as Scalar) : null;
  }
  const number = numberOf(value);
  return number !== null && Number.isFinite(number) ? number : null;
}

function holds(value: Scalar, operator: Operator, threshold: Scalar): boolean {
  switch (operator) {
    case '>':
      return value > threshold;
    case '<':
      return value < threshold;
    case '>=':
      return value >= threshold;
    case '<=':
      return value <= threshold;
    case '==':
      return value === threshold;
    case '!=':
      return value !== threshold;
  }
}

function fire(
  rule: Rule,
  ruleVersion: number,
  reading: Reading,
  value: Scalar,
  evidence: Evidence,
): Fired {
  const { userId, deviceId, time, sequenceId } = reading;
  const alertId = hash(['alert', userId, deviceId, rule.id, time, sequenceId]);
  return {
    type: 'FIRED',
    eventId: hash([alertId, 'FIRED']),
    alertId,
    userId,
    deviceId,
    rule,
    ruleVersion,
    message: renderMessage(rule, deviceId, value),
    value,
    time,
    sequenceId,
    evidence,
  };
}

function resolve(
  device: { userId: string; deviceId: string },
  ruleId: string,
  episode: Episode,
  end: Pick<Resolved, 'reason' | 'value' | 'time'>,
): Resolved {
  return {
    type: 'RESOLVED',
    eventId: hash([episode.alertId, 'RESOLVED']),
    alertId: episode.alertId,
    userId: device.userId,
    deviceId: device.deviceId,
    ruleId,
    ...end,
  };
}

/** Fills {value} {threshold} {key} {device_id} in a rule's message. */
export function renderMessage(rule: Rule, deviceId: string, value: Scalar): string {
  const values: Record<string, Scalar> = {
    value,
    threshold: rule.threshold,
    key: rule.key,
    device_id: deviceId,
  };
  return rule.message.replace(/\{(value|threshold|key|device_id)\}/g, (_, name: string) =>
    String(values[name]),
  );
}

/** 128 bits of SHA-256 over an unambiguous encoding, as hex. */
function hash(parts: (string | number)[]): string {
  const digest = new Bun.CryptoHasher('sha256').update(JSON.stringify(parts)).digest('hex');
  return digest.slice(0, 32);
}
