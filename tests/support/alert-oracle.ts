import type { Reading } from '../../src/domain/reading.ts';
import type { RuleSet, Scalar, ThresholdRule } from '../../src/domain/rule.ts';

/** A reading, and the rules in force when it is evaluated; without one, a look after an edit. */
export interface Step {
  reading: Reading | null;
  ruleSet: RuleSet;
}

/** A transition as the oracle names it: no ids, which are hashes. */
export interface Expected {
  ruleId: string;
  type: 'FIRED' | 'RESOLVED';
  reason: string | null;
  /** Event time; of a FIRED one with the reading's sequence id it names the alert. */
  time: number;
  /** The reading that fired. */
  startedBy: { time: number; sequenceId: number };
}

/** With since when it had held, where it FIRED. */
type Dated = Expected & { since: number | null };

/** A reading that the rule took, and what was made of it. */
interface Seen {
  time: number;
  sequenceId: number;
  value: Scalar;
  /** While no alert was open: the rule held. An edit takes it back from the last one. */
  held: boolean;
  /** While one was open: it went on. An edit judges the last one anew. */
  goesOn: boolean;
  wentOn: boolean;
  /** An edit had the alert go on no longer, of which it went on before: the hold begins anew. */
  turned: boolean;
}

export function expectedTransitions(steps: readonly Step[], ruleId: string): Expected[] {
  return datedTransitions(steps, ruleId).map(({ since: _, ...one }) => one);
}

/**
 * The naive version of the reducer, for one rule of one device: it keeps every reading, and looks
 * back over all of them each time. An edit is judged by the last value seen.
 */
export function datedTransitions(steps: readonly Step[], ruleId: string): Dated[] {
  const deviceId = steps.find(({ reading }) => reading !== null)?.reading?.deviceId ?? '';
  const expected: Dated[] = [];
  let seen: Seen[] = [];
  /** Index in `seen` of the reading that fired the open alert. */
  let open: number | null = null;
  let measured = '';

  const end = (reason: string, time?: number) => {
    const last = seen.at(-1);
    if (last !== undefined) last.held = false;
    if (open === null) return;
    const { time: at, sequenceId } = seen[open] as Seen;
    const lastSeen = seen.findLast((one, index) => index === open || one.wentOn) as Seen;
    const startedBy = { time: at, sequenceId };
    const when = time ?? lastSeen.time;
    expected.push({ ruleId, type: 'RESOLVED', reason, time: when, startedBy, since: null });
    for (const one of seen) one.wentOn = false;
    open = null;
  };
  /** How long, at the last reading, the trailing readings that it is true of have lasted. */
  const trailing = (isTrue: (one: Seen) => boolean) => {
    const before = seen.findLastIndex((one) => !isTrue(one));
    return seen[before + 1]?.time as number;
  };
  const endIfOver = (clearMicros: number, reason: string, time?: number) => {
    const wentOnAt = seen.findLastIndex((one) => one.goesOn);
    const turnedAt = seen.findLastIndex((one) => one.turned);
    const since = seen[Math.max(open as number, wentOnAt + 1, turnedAt)] as Seen;
    if ((seen.at(-1) as Seen).time - since.time >= clearMicros) end(reason, time);
  };

  for (const { reading, ruleSet } of steps) {
    const rule = ruleSet.rules.find(({ id }) => id === ruleId) as ThresholdRule | undefined;
    if (rule === undefined) {
      end('RULE_DELETED');
      seen = [];
      continue;
    }
    if (!rule.enabled) {
      end('RULE_DISABLED');
      continue;
    }
    const measures = rule.key + rule.operator;
    if (measures !== measured) {
      end('RULE_EDITED');
      seen = [];
    }
    measured = measures;
    const off = ruleSet.disabled[ruleId];
    if (Array.isArray(off) && off.includes(deviceId)) {
      end('DEVICE_DISABLED');
      continue;
    }
    if (rule.devices !== undefined && !globOf(rule.devices).test(deviceId)) {
      end('RULE_EDITED');
      continue;
    }
    const clearMicros = microsOf(rule.clear?.for);
    const last = seen.at(-1);
    if (last !== undefined && open === null) last.held &&= breaches(rule, last.value);
    if (last !== undefined && open !== null) {
      const goesOn = breaches(keeping(rule), last.value);
      last.turned ||= last.goesOn && !goesOn;
      last.goesOn = goesOn;
      if (!last.goesOn) endIfOver(clearMicros, 'RULE_EDITED');
    }
    if (reading === null) continue;
    const value = valueUnder(reading, rule);
    if (value === null) continue;
    const { time, sequenceId } = reading;
    const isLate = seen.some(
      (other) => other.time > time || (other.time === time && other.sequenceId >= sequenceId),
    );
    if (isLate) continue;
    const held = open === null && breaches(rule, value);
    const goesOn = open !== null && breaches(keeping(rule), value);
    seen.push({ time, sequenceId, value, held, goesOn, wentOn: goesOn, turned: false });
    if (open !== null) {
      if (!goesOn) endIfOver(clearMicros, 'CLEARED', time);
      continue;
    }
    const since = held ? trailing((one) => one.held) : time;
    if (!held || time - since < microsOf(rule.for)) continue;
    open = seen.length - 1;
    (seen[open] as Seen).goesOn = true;
    const startedBy = { time, sequenceId };
    expected.push({ ruleId, type: 'FIRED', reason: null, time, startedBy, since });
  }
  return expected;
}

/** The rule that an open alert goes on by. */
function keeping(rule: ThresholdRule): ThresholdRule {
  return { ...rule, threshold: rule.clear?.threshold ?? rule.threshold };
}

function valueUnder(reading: Reading, { key, threshold }: ThresholdRule): Scalar | null {
  const path = key in reading.columns ? reading.columns : (reading.extra ?? {});
  const value = key
    .split('.')
    .reduce<unknown>((at, name) => (at as Record<string, unknown> | null)?.[name], path);
  if (typeof value !== typeof threshold) return null;
  return typeof value === 'number' && !Number.isFinite(value) ? null : (value as Scalar);
}

function breaches({ operator, threshold }: ThresholdRule, value: Scalar): boolean {
  if (typeof value !== typeof threshold) return false;
  if (typeof value !== 'number') return (value === threshold) === (operator === '==');
  const difference = value - (threshold as number);
  if (operator === '>') return difference > 0;
  if (operator === '<') return difference < 0;
  if (operator === '>=') return difference >= 0;
  if (operator === '<=') return difference <= 0;
  return operator === '==' ? difference === 0 : difference !== 0;
}

/** Of patterns without a character that a regular expression takes for more than itself. */
function globOf(pattern: string): RegExp {
  return new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`);
}

/** `PT0.000003S`, or nothing. */
function microsOf(duration: string | undefined): number {
  return Math.round(Number(/[\d.]+/.exec(duration ?? '0')) * 1e6);
}
