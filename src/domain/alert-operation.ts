import type { Duration } from './duration.ts';
import { MICROS_PER_SECOND } from './time.ts';
import type { DeviceKey } from './transitions.ts';

/** A rule on a device: what a snooze belongs to. */
export interface RuleOnDevice extends DeviceKey {
  ruleId: string;
}

const DAY = 24 * 3_600 * MICROS_PER_SECOND;
/** A year, with months at their longest. */
const MAX_DAYS = 12 * 31;

/** Why a rule can't be snoozed for so long; null where it can. */
export function snoozeFault({ months, days, micros }: Duration): string | null {
  const length = (months * 31 + days) * DAY + micros;
  if (length <= 0) return 'must be longer than nothing';
  return length <= MAX_DAYS * DAY ? null : 'must be a year at most: disable the rule for longer';
}
