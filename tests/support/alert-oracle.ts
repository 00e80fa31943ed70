import type { Reading } from '../../src/domain/reading.ts';
import type { RuleSet, ThresholdRule } from '../../src/domain/rule.ts';

/** A reading, and the rules in force when it is evaluated. */
export interface Step {
  reading: Reading;
  ruleSet: RuleSet;
}

/** A transition as the oracle names it: no ids, which are hashes. */
export interface Expected {
  ruleId: string;
  type: 'FIRED' | 'RESOLVED';
  reason: string | null;
  /** Event time; of a FIRED one with the reading's sequence id it names the alert. */
  time: number;
  /** The reading that began the episode. */
  startedBy: { time: number; sequenceId: number };
}

/**
 * The naive version of the reducer: for one rule of one device, from the whole series at once and
 * with nothing carried along but what it has seen. Only for numbers.
 */
export function expectedTransitions(steps: readonly Step[], ruleId: string): Expected[] {
  const expected: Expected[] = [];
  let measured: string | null = null;
  let seen: { time: number; sequenceId: number; value: number }[] = [];
  /** Index in `seen` of the reading that began the open episode. */
  let open: number | null = null;

  const end = (reason: string, time: number) => {
    if (open !== null) {
      const startedBy = keyOf(seen[open] as (typeof seen)[0]);
      expected.push({ ruleId, type: 'RESOLVED', reason, time, startedBy });
    }
    open = null;
  };
  const lastSeen = () => seen.at(-1)?.time as number;

  for (const { reading, ruleSet } of steps) {
    const rule = ruleSet.thresholds.find((active) => active.rule.id === ruleId)?.rule;
    if (rule === undefined) {
      const disabled = ruleSet.rules.some(({ id }) => id === ruleId);
      end(disabled ? 'RULE_DISABLED' : 'RULE_DELETED', lastSeen());
      if (!disabled) seen = [];
      continue;
    }
    const measures = rule.key + rule.operator;
    if (measured !== null && measures !== measured) {
      end('RULE_EDITED', lastSeen());
      seen = [];
    }
    measured = measures;
    // An edit of the threshold: judged by the last value.
    const last = seen.at(-1);
    if (open !== null && last && !breaches(rule, last.value)) end('RULE_EDITED', lastSeen());
    const value = numberUnder(reading, rule.key);
    if (value === null) continue;
    const { time, sequenceId } = reading;
    const late = seen.some(
      (other) => other.time > time || (other.time === time && other.sequenceId >= sequenceId),
    );
    if (late) continue;
    const breach = breaches(rule, value);
    seen.push({ time, sequenceId, value });
    if (breach && open === null) {
      open = seen.length - 1;
      const startedBy = { time, sequenceId };
      expected.push({ ruleId, type: 'FIRED', reason: null, time, startedBy });
    } else if (!breach) end('CLEARED', time);
  }
  return expected;
}

function keyOf({ time, sequenceId }: { time: number; sequenceId: number }) {
  return { time, sequenceId };
}

function numberUnder(reading: Reading, key: string): number | null {
  const path = key in reading.columns ? reading.columns : (reading.extra ?? {});
  const value = key
    .split('.')
    .reduce<unknown>((at, name) => (at as Record<string, unknown> | null)?.[name], path);
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function breaches({ operator, threshold }: ThresholdRule, value: number): boolean {
  const difference = value - (threshold as number);
  if (operator === '>') return difference > 0;
  if (operator === '<') return difference < 0;
  if (operator === '>=') return difference >= 0;
  if (operator === '<=') return difference <= 0;
  return operator === '==' ? difference === 0 : difference !== 0;
}
