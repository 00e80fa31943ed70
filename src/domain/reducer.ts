import { watches } from './active-rule.ts';
import type { Evidence, Held, RuleMemory, RuleState, Transition } from './alert.ts';
import { comparable, holds } from './compare.ts';
import { isAfter, type Reading, valueAt } from './reading.ts';
import { reconcile } from './reconcile.ts';
import type { RuleSet } from './rule.ts';
import type { Micros } from './time.ts';
import {
  type DeviceKey,
  fire,
  fireSilence,
  resolve,
  type SilenceClock,
  type Step,
} from './transitions.ts';

export interface Evaluation {
  memory: RuleMemory;
  transitions: Transition[];
  held: Held[];
  /** How many rules had already seen this reading or a later one. */
  late: number;
}

/**
 * The reducer: one reading of one device against its user's rules. Pure; ids are hashes of what
 * caused them, so that the same input gives the same alerts, live or in a backtest, whenever it runs.
 */
export function evaluate(
  before: RuleMemory,
  reading: Reading,
  ruleSet: RuleSet,
  evidence: Evidence,
): Evaluation {
  const { memory, transitions } = hear(before, reading, ruleSet, evidence.arrival);
  const result: Evaluation = { memory, transitions, held: [], late: 0 };
  if (ruleSet.thresholds.length === 0) {
    if (memory.future !== undefined) result.memory = { ...memory, future: undefined };
    return result;
  }
  const rules: Record<string, RuleState> = { ...memory.rules };
  let taken = 0;
  for (const active of ruleSet.thresholds) {
    if (!watches(active, reading.deviceId)) continue;
    const { rule } = active;
    const value = comparable(valueAt(reading, rule.key, active.path), rule.threshold);
    if (value === null) continue;
    const state = rules[rule.id];
    if (state !== undefined && !isAfter(reading, state)) {
      result.late++;
      continue;
    }
    taken++;
    rules[rule.id] = step(
      state,
      { active, reading, value, version: ruleSet.version, evidence },
      result,
    );
  }
  const late = lateness(memory, reading, { taken, late: result.late });
  result.memory = { version: memory.version, rules, ...(late && { late }) };
  return result;
}

/** A reading that is dated too far ahead: no rule sees it, but that it came is remembered. */
export function foresee(memory: RuleMemory, { time }: Reading): RuleMemory {
  return { ...memory, future: { readings: (memory.future?.readings ?? 0) + 1, time } };
}

/** A reading that some rule takes shows that the device's clock is right. */
function lateness(
  { late }: RuleMemory,
  { time, sequenceId }: Reading,
  rules: { taken: number; late: number },
): RuleMemory['late'] {
  if (rules.late === 0) return rules.taken > 0 ? undefined : late;
  return { readings: (late?.readings ?? 0) + 1, time, sequenceId };
}

/** One rule's next state, after a value that it has not seen yet. */
function step(state: RuleState | undefined, step: Step, result: Evaluation): RuleState {
  const { active, reading, value } = step;
  const { rule } = active;
  const { time, sequenceId } = reading;
  const next: RuleState = { time, sequenceId, measures: active.measures, episode: null };
  const open = state?.episode ?? null;
  if (open === null) {
    if (!holds(value, rule.operator, rule.threshold)) return next;
    const since = state?.since ?? time;
    if (time - since < active.forMicros) return { ...next, since, value };
    const fired = fire(step, since);
    result.transitions.push(fired);
    return { ...next, value, episode: { alertId: fired.alertId, lastSeenAt: time } };
  }
  if (holds(value, rule.operator, active.keepThreshold)) {
    result.held.push({ alertId: open.alertId, lastSeenAt: time, value });
    return { ...next, value, episode: { alertId: open.alertId, lastSeenAt: time } };
  }
  const since = state?.since ?? time;
  if (time - since < active.clearMicros) return { ...next, since, value, episode: open };
  result.transitions.push(resolve(reading, rule.id, open, { reason: 'CLEARED', value, time }));
  return next;
}

/**
 * Something arrived from a device, whatever it is dated: its memory is brought in line with the
 * rules in force, and its silence, if it was one, is over.
 */
export function hear(
  before: RuleMemory,
  device: DeviceKey,
  ruleSet: RuleSet,
  arrival: Micros,
): { memory: RuleMemory; transitions: Transition[] } {
  const reconciled = reconcile(before, device, ruleSet, null);
  if (ruleSet.silences.length === 0) return reconciled;
  let { memory } = reconciled;
  for (const { rule } of ruleSet.silences) {
    const episode = memory.rules[rule.id]?.episode;
    if (episode == null) continue;
    const { [rule.id]: _over, ...rules } = memory.rules;
    memory = { ...memory, rules };
    // Not before it began, whatever the clock is by which the log stamps arrivals.
    const time = Math.max(arrival, episode.lastSeenAt);
    const end = { reason: 'CLEARED', value: null, time } as const;
    reconciled.transitions.push(resolve(device, rule.id, episode, end));
  }
  return { memory, transitions: reconciled.transitions };
}

/** A device of which nothing came, as it stands at the clock: the silence that is long enough fires. */
export function silence(
  before: RuleMemory,
  device: DeviceKey & { lastArrivalAt: Micros },
  ruleSet: RuleSet,
  clock: SilenceClock,
): { memory: RuleMemory; transitions: Transition[] } {
  const reconciled = reconcile(before, device, ruleSet, clock.at - device.lastArrivalAt);
  let { memory } = reconciled;
  const quietSince = Math.max(device.lastArrivalAt, clock.flowingSince);
  for (const active of ruleSet.silences) {
    const { rule, measures, silenceMicros } = active;
    if (!watches(active, device.deviceId) || memory.rules[rule.id]?.episode) continue;
    if (clock.at - quietSince < silenceMicros) continue;
    const fired = fireSilence(active, device, ruleSet.version, quietSince, clock);
    reconciled.transitions.push(fired);
    const episode = { alertId: fired.alertId, lastSeenAt: fired.time };
    const state = { time: device.lastArrivalAt, sequenceId: -1, measures, episode };
    memory = { ...memory, rules: { ...memory.rules, [rule.id]: state } };
  }
  return { memory, transitions: reconciled.transitions };
}
