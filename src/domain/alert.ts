import type { Operator, Rule, Scalar, Severity } from './rule.ts';
import type { Micros } from './time.ts';

export type AlertStatus = 'FIRING' | 'RESOLVED';
export type AlertEventType =
  | 'FIRED'
  | 'RESOLVED'
  | 'ACKNOWLEDGED'
  | 'SNOOZED'
  | 'UNSNOOZED'
  | 'REMINDED';
export type ResolveReason =
  | 'CLEARED'
  | 'RULE_EDITED'
  | 'RULE_DELETED'
  | 'RULE_DISABLED'
  | 'DEVICE_DISABLED';

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
  /** Event time of FIRED and RESOLVED; of all others when it was done. */
  time: Micros;
  startedAt: Micros;
  /** Who did it; null where a reading or the rules did. */
  actor: string | null;
  /** Of a SNOOZED one. */
  snoozedUntil: Micros | null;
  /** Not sent by MQTT: its episode began while its rule was snoozed on the device. */
  muted: boolean;
  /** Trace context of the reading, where that was followed. */
  traceparent: string | null;
}

/** An open episode, as a device's state carries it. */
export interface Episode {
  alertId: string;
  lastSeenAt: Micros;
}

/**
 * What one rule remembers of one device. Without an episode `since` is when the rule began to hold,
 * while it does; with one, when it ceased to, while `clear` asks for patience.
 */
export interface RuleState {
  /** The last reading the rule took into account: what is not above it is LATE. */
  time: Micros;
  sequenceId: number;
  /** What the rule measured, `temperature >`: a rule that measures something else starts anew. */
  measures: string;
  since?: Micros;
  /** Of that last reading, where there is an episode or `since`: an edit is judged by it. */
  value?: Scalar;
  episode: Episode | null;
}

/** What all of a user's rules remember of one device: `device_state.rules`. Never mutated. */
export interface RuleMemory {
  /** The version of the rules it was last brought in line with. */
  version: number;
  rules: Readonly<Record<string, RuleState>>;
  /** The last readings, where they were LATE for a rule: how many in a row, and the newest of them. */
  late?: { readings: number; time: Micros; sequenceId: number };
  /** The last readings, where they were FUTURE: how many in a row, and what the newest is dated. */
  future?: { readings: number; time: Micros };
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
  /** Null where nothing was measured, but the device is silent. */
  value: Scalar | null;
  /** Event time of the reading; for silence the arrival time at which it was long enough. */
  time: Micros;
  /** Since when it held, or since when nothing had arrived. */
  holdingSince: Micros;
  /** The reading's; null for silence. */
  eventTime: Micros | null;
  sequenceId: number | null;
  /** For silence the record that showed how late it is, and the arrival of the last reading. */
  evidence: Evidence;
  /** Of a reading that is followed. */
  traceparent?: string;
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
  /** Of the reading that cleared it; null where a change of the rules ended it, and for silence. */
  value: Scalar | null;
  /** Of the clearing reading: event time, for silence its arrival; else when it was last seen. */
  time: Micros;
  traceparent?: string;
}

export type Transition = Fired | Resolved;

/** An open episode that a reading found still holding. */
export interface Held {
  alertId: string;
  lastSeenAt: Micros;
  value: Scalar;
}
