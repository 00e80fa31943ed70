import { SILENCE } from './active-rule.ts';
import type { RuleMemory, RuleState } from './alert.ts';

/** In place of a reading that was forgotten: below the time and sequence id of every other. */
export const NO_READING = { time: 0, sequenceId: -1 } as const;

/**
 * What a device remembers after its clock was put back: which reading each rule saw last is
 * forgotten, so that the next one is LIVE whatever it is dated. A hold that was being waited for
 * begins anew, open episodes go on. Silence is measured by arrival, and stays as it is.
 */
export function forgetTimes({ version, rules }: RuleMemory): RuleMemory {
  const kept: Record<string, RuleState> = {};
  for (const [ruleId, state] of Object.entries(rules)) {
    const { measures, episode } = state;
    if (measures === SILENCE) kept[ruleId] = state;
    // Its value goes too: an edit is judged by the next reading, not by one that is forgotten.
    else if (episode !== null) kept[ruleId] = { ...NO_READING, measures, episode };
  }
  return { version, rules: kept };
}
