import { type ActiveSilence, type ActiveThreshold, covers, SILENCE } from './active-rule.ts';
import type { ResolveReason, RuleMemory, RuleState, Transition } from './alert.ts';
import { holds } from './compare.ts';
import type { Rule, RuleSet } from './rule.ts';
import type { Micros } from './time.ts';
import { type DeviceKey, resolve } from './transitions.ts';

/**
 * Brings a device's memory in line with a new version of the rules. An episode ends where its rule
 * is gone, is off here, measures something else or doesn't hold any more by the last value seen;
 * else it goes on. Nothing fires: that takes a reading.
 *
 * @param silentFor how long nothing has come of the device; null where something has just come
 */
export function reconcile(
  memory: RuleMemory,
  device: DeviceKey,
  ruleSet: RuleSet,
  silentFor: Micros | null,
): { memory: RuleMemory; transitions: Transition[] } {
  const transitions: Transition[] = [];
  if (memory.version === ruleSet.version) return { memory, transitions };
  const rules: Record<string, RuleState> = {};
  for (const [ruleId, state] of Object.entries(memory.rules)) {
    const { kept, reason } = revise(state, ruleId, device, ruleSet, silentFor);
    if (kept !== null) rules[ruleId] = kept;
    if (reason === null || state.episode === null) continue;
    const time = state.episode.lastSeenAt;
    transitions.push(resolve(device, ruleId, state.episode, { reason, value: null, time }));
  }
  return { memory: { ...memory, version: ruleSet.version, rules }, transitions };
}

/** What of a state stands under other rules, and why an episode of it does not. */
function revise(
  state: RuleState,
  ruleId: string,
  device: DeviceKey,
  ruleSet: RuleSet,
  silentFor: Micros | null,
): { kept: RuleState | null; reason: ResolveReason | null } {
  const isOf = ({ rule }: { rule: Rule }) => rule.id === ruleId;
  const threshold = ruleSet.thresholds.find(isOf);
  const active = threshold ?? ruleSet.silences.find(isOf);
  // Of a rule that is off, which reading it saw last is kept: older ones stay LATE.
  const { time, sequenceId, measures } = state;
  const isSilence = measures === SILENCE;
  const dormant: RuleState | null = isSilence
    ? null
    : { time, sequenceId, measures, episode: null };
  if (active === undefined) {
    const isThere = ruleSet.all.some((rule) => rule.id === ruleId);
    if (isThere) return { kept: dormant, reason: 'RULE_DISABLED' };
    return { kept: null, reason: 'RULE_DELETED' };
  }
  if (active.measures !== measures) return { kept: null, reason: 'RULE_EDITED' };
  if (active.disabledDevices.has(device.deviceId)) {
    return { kept: dormant, reason: 'DEVICE_DISABLED' };
  }
  if (!covers(active, device.deviceId)) return { kept: dormant, reason: 'RULE_EDITED' };
  if (threshold === undefined) {
    const { silenceMicros } = active as ActiveSilence;
    const isOver = silentFor !== null && silentFor < silenceMicros;
    return isOver ? { kept: null, reason: 'RULE_EDITED' } : { kept: state, reason: null };
  }
  return reviseThreshold(state, threshold, dormant);
}

function reviseThreshold(
  state: RuleState,
  active: ActiveThreshold,
  dormant: RuleState | null,
): { kept: RuleState | null; reason: ResolveReason | null } {
  const { value, episode, time } = state;
  const { operator, threshold } = active.rule;
  if (value === undefined) return { kept: state, reason: null };
  // Another type of threshold compares with nothing that was seen.
  const isComparable = typeof value === typeof threshold;
  if (episode === null) {
    const stillHolds = isComparable && holds(value, operator, threshold);
    return { kept: stillHolds ? state : dormant, reason: null };
  }
  if (isComparable && holds(value, operator, active.keepThreshold)) {
    return { kept: { ...state, since: undefined }, reason: null };
  }
  const since = state.since ?? time;
  if (time - since < active.clearMicros) return { kept: { ...state, since }, reason: null };
  return { kept: dormant, reason: 'RULE_EDITED' };
}
