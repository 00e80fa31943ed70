import type { RuleMemory, RuleState } from '../domain/alert.ts';
import { isAfter } from '../domain/reading.ts';
import type { Micros } from '../domain/time.ts';

/**
 * A memory in the columns of device_state. Nearly always nearly all rules of a device are calm, and
 * saw the same reading last: of those `rules` holds what they measure alone, so that it says the
 * same for many devices and stays as it is from reading to reading.
 */
export interface PackedMemory {
  /** JSON: a memory without its calm rules, and `calm`, of these by id what they measure. */
  rules: string;
  /** Of the last reading that the calm rules took into account; null where there are none. */
  calmTime: Micros | null;
  calmSequence: number | null;
}

/** That JSON, read. Without `calm` it is what was written before there were such rules. */
interface StoredMemory extends RuleMemory {
  calm?: Readonly<Record<string, string>>;
}

export function packMemory(memory: RuleMemory): PackedMemory {
  let last: RuleState | null = null;
  for (const state of Object.values(memory.rules)) {
    if (isCalm(state) && (last === null || isAfter(state, last))) last = state;
  }
  if (last === null) return { rules: JSON.stringify(memory), calmTime: null, calmSequence: null };
  const { time, sequenceId } = last;
  const calm: Record<string, string> = {};
  const rules: Record<string, RuleState> = {};
  for (const [ruleId, state] of Object.entries(memory.rules)) {
    const isOneOfThem = isCalm(state) && state.time === time && state.sequenceId === sequenceId;
    if (isOneOfThem) calm[ruleId] = state.measures;
    else rules[ruleId] = state;
  }
  const stored: StoredMemory = { ...memory, rules, calm };
  return { rules: JSON.stringify(stored), calmTime: time, calmSequence: sequenceId };
}

export function unpackMemory(
  { calm, ...memory }: StoredMemory,
  time: Micros | null,
  sequenceId: number | null,
): RuleMemory {
  if (calm === undefined || time === null || sequenceId === null) return memory;
  const rules: Record<string, RuleState> = { ...memory.rules };
  for (const [ruleId, measures] of Object.entries(calm)) {
    rules[ruleId] = { time, sequenceId, measures, episode: null };
  }
  return { ...memory, rules };
}

/** It waits for nothing, and no alert of it is open: of its reading it has kept the time alone. */
function isCalm({ since, value, episode }: RuleState): boolean {
  return episode === null && since === undefined && value === undefined;
}
