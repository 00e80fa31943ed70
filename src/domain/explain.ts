import { type ActiveSilence, type ActiveThreshold, covers } from './active-rule.ts';
import type { RuleMemory, RuleState } from './alert.ts';
import { comparable, holds } from './compare.ts';
import { formatDuration } from './duration.ts';
import { isAfter, type Reading, valueAt } from './reading.ts';
import { NO_READING } from './reset-clock.ts';
import type { Rule, RuleSet, Scalar } from './rule.ts';
import { disabledDevices } from './rule-content.ts';
import { formatMicros, type Micros } from './time.ts';
import type { SilenceClock } from './transitions.ts';

export const RULE_STATUSES = [
  'FIRING',
  'CLEARING',
  'PENDING',
  'OK',
  'LATE',
  'FUTURE',
  'NO_DATA',
  'DISABLED',
  'DEVICE_DISABLED',
  'NOT_COVERED',
] as const;
export type RuleStatus = (typeof RULE_STATUSES)[number];

/** How a rule stands on a device, and why. */
export interface Explanation {
  status: RuleStatus;
  since: Micros | null;
  /** Of the reading that last decided it. */
  value: Scalar | null;
  /** One sentence for people, with the figures in it. */
  reason: string;
}

/** A device, as far as its rules look at it; its memory is in line with the rules. */
export interface ExplainedDevice {
  deviceId: string;
  memory: RuleMemory;
  /** Null where nothing is known to have come. */
  lastArrivalAt: Micros | null;
  /** Of its partition; null where no log has been read yet. */
  clock: Omit<SilenceClock, 'partition' | 'offset'> | null;
}

/** What the state of a rule refers to, and does not hold itself. */
export interface Referred {
  /** The reading that last decided it; null where it is no longer stored. */
  reading: Reading | null;
  /** Of the open alert; null where there is none. */
  startedAt: Micros | null;
}

export function explain(
  rule: Rule,
  ruleSet: RuleSet,
  device: ExplainedDevice,
  referred: Referred,
): Explanation {
  const { deviceId } = device;
  const off = (status: RuleStatus, reason: string): Explanation => ({
    status,
    since: null,
    value: null,
    reason,
  });
  if (!rule.enabled) return off('DISABLED', 'it is not enabled');
  if (disabledDevices(ruleSet, rule.id).includes(deviceId)) {
    return off('DEVICE_DISABLED', 'it is off on this device');
  }
  const isOf = (active: { rule: Rule }) => active.rule.id === rule.id;
  const threshold = ruleSet.thresholds.find(isOf);
  const active = threshold ?? ruleSet.silences.find(isOf);
  if (active === undefined || !covers(active, deviceId)) {
    return off('NOT_COVERED', `"${rule.devices}" does not match this device`);
  }
  if (threshold === undefined) return explainSilence(active as ActiveSilence, device, referred);
  return explainThreshold(threshold, device, referred);
}

/** How many of the device's newest readings a rule with this state left out as LATE. */
export function lateReadings({ late }: RuleMemory, state: RuleState | undefined): number {
  if (late === undefined || state === undefined) return 0;
  return isAfter(late, state) ? 0 : late.readings;
}

function explainThreshold(
  active: ActiveThreshold,
  { memory }: ExplainedDevice,
  referred: Referred,
): Explanation {
  const { rule } = active;
  const state = memory.rules[rule.id];
  if (state === undefined) {
    const kind = typeof rule.threshold === 'string' ? 'text' : `a ${typeof rule.threshold}`;
    const none = `no reading with ${kind} under "${rule.key}" has been judged by it yet`;
    const { future } = memory;
    const reason = future === undefined ? none : `${futureReason(future)}; ${none}`;
    const status = future === undefined ? 'NO_DATA' : 'FUTURE';
    return { status, since: null, value: null, reason };
  }
  const present = presentState(active, state, referred);
  const late = lateReadings(memory, state);
  if (memory.future !== undefined) return leftOut(present, 'FUTURE', futureReason(memory.future));
  return late === 0 ? present : leftOut(present, 'LATE', lateReason(late, state));
}

/** The newest readings said nothing to the rule: where no alert is open, that is its status. */
function leftOut(present: Explanation, status: 'LATE' | 'FUTURE', why: string): Explanation {
  const reason = `${why}; before them ${present.reason}`;
  const stands = present.status === 'FIRING' || present.status === 'CLEARING';
  return stands ? { ...present, reason } : { ...present, status, since: null, reason };
}

function presentState(
  active: ActiveThreshold,
  state: RuleState,
  { reading, startedAt }: Referred,
): Explanation {
  const { key, operator, threshold } = active.rule;
  const { keepThreshold, forMicros, clearMicros } = active;
  const read = reading === null ? null : comparable(valueAt(reading, key), threshold);
  const value = state.value ?? read;
  const told = `${key} ${shown(value)}`;
  const held = (since: Micros) => `since ${formatMicros(since)} for ${length(state.time - since)}`;
  if (state.episode !== null) {
    const fired = startedAt === null ? 'it fired' : `it fired at ${formatMicros(startedAt)}`;
    const is = { since: startedAt, value };
    if (state.time === NO_READING.time) {
      const reason = `${fired}; the device's clock was reset, and the next reading is judged anew`;
      return { ...is, status: 'FIRING', reason };
    }
    if (state.since === undefined) {
      const reason = `${fired}, and ${told} is ${operator} ${shown(keepThreshold)}`;
      return { ...is, status: 'FIRING', reason };
    }
    const over = `${told} is not ${operator} ${shown(keepThreshold)}, ${held(state.since)}`;
    const reason = `${fired}, but ${over}; it clears after ${length(clearMicros)}`;
    return { ...is, since: state.since, status: 'CLEARING', reason };
  }
  if (state.since !== undefined) {
    const holding = `${told} is ${operator} ${shown(threshold)}, ${held(state.since)}`;
    const reason = `${holding}; it fires after ${length(forMicros)}`;
    return { status: 'PENDING', since: state.since, value, reason };
  }
  return { status: 'OK', since: null, value, reason: calm(active, state, value) };
}

/** Of the reading that a rule saw last its state keeps the time alone, while all is calm. */
function calm({ rule }: ActiveThreshold, state: RuleState, value: Scalar | null): string {
  const { key, operator, threshold } = rule;
  if (value === null) {
    const decisive = `the reading of ${formatMicros(state.time)} decided it`;
    return `${decisive}, and its value is not known any more`;
  }
  const told = `${key} ${shown(value)}`;
  const against = `${operator} ${shown(threshold)}`;
  if (!holds(value, operator, threshold)) return `${told} is not ${against}`;
  const edited = 'but came before the rule was as it is now; the next reading is judged';
  return `${told} is ${against}, ${edited}`;
}

function lateReason(late: number, { time }: RuleState): string {
  const seen = `${formatMicros(time)}, which this rule has already seen`;
  return late === 1
    ? `the newest reading is dated at or before ${seen}: it came late or twice`
    : `the newest ${late} readings are dated at or before ${seen}: they came late, or the ` +
        "device's clock has gone back, and resetDeviceClock releases it";
}

function futureReason({ readings, time }: NonNullable<RuleMemory['future']>): string {
  const newest = readings === 1 ? 'the newest reading is' : `the newest ${readings} readings are`;
  return (
    `${newest} dated too far ahead of the arrival, up to ${formatMicros(time)}: stored, and left ` +
    "out until the device's clock is right"
  );
}

function explainSilence(
  { rule, silenceMicros }: ActiveSilence,
  { memory, lastArrivalAt, clock }: ExplainedDevice,
  { startedAt }: Referred,
): Explanation {
  const value = null;
  const episode = memory.rules[rule.id]?.episode ?? null;
  if (episode !== null) {
    const fired = formatMicros(startedAt ?? episode.lastSeenAt);
    const since = lastArrivalAt === null ? '' : ` since ${formatMicros(lastArrivalAt)}`;
    const reason = `nothing has arrived${since}, and it fired at ${fired}`;
    return { status: 'FIRING', since: startedAt, value, reason };
  }
  if (lastArrivalAt === null || clock === null) {
    const reason = 'nothing of this device has been read from the log yet';
    return { status: 'NO_DATA', since: null, value, reason };
  }
  const since = Math.max(lastArrivalAt, clock.flowingSince);
  const silent = Math.max(0, clock.at - since);
  const figures = `${formatMicros(since)} for ${length(silent)} by the clock of the log`;
  const begun = since === lastArrivalAt ? 'silent since' : 'the log was interrupted; silent since';
  const status = silent >= silenceMicros ? 'PENDING' : 'OK';
  const end =
    status === 'OK' ? `it fires after ${length(silenceMicros)}` : 'it fires at the next look';
  return { status, since, value, reason: `${begun} ${figures}; ${end}` };
}

function shown(value: Scalar | null): string {
  return value === null ? '(no longer known)' : JSON.stringify(value);
}

function length(micros: Micros): string {
  return formatDuration({ months: 0, days: 0, micros });
}
