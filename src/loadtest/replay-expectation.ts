import type { Operator } from '../domain/rule.ts';
import type { RecordedRow } from './recording.ts';
import type { RuleSet } from './rule-queries.ts';
import type { Simulation } from './simulation.ts';
import type { Episode } from './verdict.ts';

export interface NumberRule {
  ruleId: string;
  key: string;
  operator: Operator;
  threshold: number;
}

/** Rules in force that compare a number. `known`: the model's shorthands by their GraphQL names. */
export function numberRules(
  { shorthands, rules }: RuleSet,
  known: Simulation['shorthands'],
): NumberRule[] {
  const found: NumberRule[] = [];
  for (const [name, { id: ruleId, key, operator }] of Object.entries(known)) {
    const threshold = shorthands[name];
    if (typeof threshold === 'number') found.push({ ruleId, key, operator, threshold });
  }
  for (const { ruleId, key, operator, threshold } of rules) {
    if (key === null || operator === null || typeof threshold !== 'number') continue;
    if (!found.some((rule) => rule.ruleId === ruleId)) {
      found.push({ ruleId, key, operator, threshold });
    }
  }
  return found;
}

const COMPARE: Record<Operator, (value: number, threshold: number) => boolean> = {
  '>': (value, threshold) => value > threshold,
  '<': (value, threshold) => value < threshold,
  '>=': (value, threshold) => value >= threshold,
  '<=': (value, threshold) => value <= threshold,
  '==': (value, threshold) => value === threshold,
  '!=': (value, threshold) => value !== threshold,
};

/**
 * The alerts of one rule, straight from the file: rows in file order, without those that are late
 * (not above the highest (time, sequence id) before them) and those without the rule's value, cut
 * into stretches in which the rule holds.
 */
export function episodesInFile(
  rows: readonly RecordedRow[],
  rule: NumberRule,
  device: { userId: string; deviceId: string },
): Episode[] {
  const episodes: Episode[] = [];
  let open: Episode | null = null;
  for (const { time, value } of onTime(rows, rule.key)) {
    const holds = COMPARE[rule.operator](value, rule.threshold);
    if (holds && open === null) {
      open = { ...device, ruleId: rule.ruleId, startedAt: time, resolvedAt: null };
      episodes.push(open);
    } else if (!holds && open !== null) {
      open.resolvedAt = time;
      open = null;
    }
  }
  return episodes;
}

/** How many rows step back behind one before them. */
export function lateRows(rows: readonly RecordedRow[]): number {
  let newest = Number.NEGATIVE_INFINITY;
  let late = 0;
  for (const { time } of rows) {
    if (time < newest) late++;
    newest = Math.max(newest, time);
  }
  return late;
}

/** Sequence ids rise with the rows: a row is late exactly when its time is below the newest. */
function* onTime(rows: readonly RecordedRow[], key: string) {
  let newest = Number.NEGATIVE_INFINITY;
  for (const { time, values } of rows) {
    const value = values.get(key);
    if (value === undefined || time < newest) continue;
    newest = time;
    yield { time, value };
  }
}
