/** A user's rules as the engine evaluates them. */

export type Operator = '>' | '<' | '>=' | '<=' | '==' | '!=';
export type Severity = 'INFO' | 'WARNING' | 'CRITICAL';
export type Scalar = number | string | boolean;

export const OPERATORS: readonly Operator[] = ['>', '<', '>=', '<=', '==', '!='];
export const SEVERITIES: readonly Severity[] = ['INFO', 'WARNING', 'CRITICAL'];

/** One accepted rule: every field is set and valid. */
export interface Rule {
  id: string;
  /** A declared column or a dotted path into the payload. */
  key: string;
  operator: Operator;
  /** A finite number; for == and != also text or a boolean. */
  threshold: Scalar;
  /** May hold {value} {threshold} {key} {device_id}. */
  message: string;
  severity: Severity;
  enabled: boolean;
}

/** A user's rules in force. */
export interface RuleSet {
  userId: string;
  /** Grows by one with every change of content; 0 where the user never had a config. */
  version: number;
  /** The model's shorthands as they were given, e.g. { temperature_max: 80 }. */
  shorthands: Readonly<Record<string, number>>;
  /** The rules as they were given, with their ids; without those of the shorthands. */
  rules: readonly Rule[];
  /** What is evaluated: `rules` and one rule for each shorthand. Disabled ones are left out. */
  effective: readonly Rule[];
}

/** A fault in what a user wrote. `path` is dotted: `rules.2.operator`. */
export interface Issue {
  path: string;
  message: string;
}
