/** A user's rules, as they were given and as the engine evaluates them. */
import type { ActiveSilence, ActiveThreshold } from './active-rule.ts';

export type Operator = '>' | '<' | '>=' | '<=' | '==' | '!=';
export type Severity = 'INFO' | 'WARNING' | 'CRITICAL';
export type Scalar = number | string | boolean;

export const OPERATORS: readonly Operator[] = ['>', '<', '>=', '<=', '==', '!='];
export const SEVERITIES: readonly Severity[] = ['INFO', 'WARNING', 'CRITICAL'];

/** What it takes for an open episode to end; at least one of the two. Durations are ISO 8601. */
export interface Clear {
  /** The episode goes on while `value operator threshold` with this one in the rule's place. */
  threshold?: number;
  /** How long it must not go on, in event time. */
  for?: string;
}

interface RuleBase {
  id: string;
  /** May hold {value} {threshold} {key} {device_id}. */
  message: string;
  severity: Severity;
  enabled: boolean;
  /** A glob of device ids with `*` and `?`; absent for all of them. */
  devices?: string;
}

/** Compares a value of each reading. Like every accepted rule it is valid; absent fields are off. */
export interface ThresholdRule extends RuleBase {
  /** A declared column or a dotted path into the payload. */
  key: string;
  operator: Operator;
  /** A finite number; for == and != also text or a boolean. */
  threshold: Scalar;
  /** How long it must hold before it fires, in event time; ISO 8601. */
  for?: string;
  clear?: Clear;
}

/** Fires for a device from which nothing has arrived for a while. */
export interface NoDataRule extends RuleBase {
  /** For how long; ISO 8601. */
  noData: string;
}

export type Rule = ThresholdRule | NoDataRule;

/** Rules that are off: on some devices, by id; or, for the rule of a shorthand, altogether. */
export type Disabled = Readonly<Record<string, true | readonly string[]>>;

/** A user's rules in force. */
export interface RuleSet {
  userId: string;
  /** Grows by one with every change of content; 0 where the user never had a config. */
  version: number;
  /** The model's shorthands as they were given, e.g. { temperature_max: 80 }. */
  shorthands: Readonly<Record<string, number>>;
  /** The rules as they were given, with their ids; without those of the shorthands. */
  rules: readonly Rule[];
  disabled: Disabled;
  /** `rules` and one rule for each shorthand, each with the `enabled` that is in force. */
  all: readonly Rule[];
  /** What is evaluated: the enabled ones of `all`. */
  thresholds: readonly ActiveThreshold[];
  silences: readonly ActiveSilence[];
}

/** A fault in what a user wrote. `path` is dotted: `rules.2.operator`. */
export interface Issue {
  path: string;
  message: string;
}

export function isNoData<R extends object>(rule: R): rule is Extract<R, { noData: string }> {
  return 'noData' in rule;
}
