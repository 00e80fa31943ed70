import { fixedMicros, parseDuration } from './duration.ts';
import { matchesGlob } from './glob.ts';
import type { NoDataRule, Rule, Scalar, ThresholdRule } from './rule.ts';
import type { Micros } from './time.ts';

/** What a rule on missing data measures; no key and operator are written so. */
export const SILENCE = 'silence';

/** A rule made ready for evaluation, once for each version. */
interface Active<R extends Rule> {
  rule: R;
  /** What it measures, `temperature >`: state of something else says nothing to it. */
  measures: string;
  disabledDevices: ReadonlySet<string>;
}

export interface ActiveThreshold extends Active<ThresholdRule> {
  /** The names in its key. */
  path: readonly string[];
  forMicros: Micros;
  /** An open episode goes on while `value operator keepThreshold`. */
  keepThreshold: Scalar;
  clearMicros: Micros;
}

export interface ActiveSilence extends Active<NoDataRule> {
  silenceMicros: Micros;
}

export function activeThreshold(
  rule: ThresholdRule,
  disabledDevices: readonly string[],
): ActiveThreshold {
  return {
    rule,
    measures: `${rule.key} ${rule.operator}`,
    path: rule.key.split('.'),
    disabledDevices: new Set(disabledDevices),
    forMicros: microsOf(rule.for),
    keepThreshold: rule.clear?.threshold ?? rule.threshold,
    clearMicros: microsOf(rule.clear?.for),
  };
}

export function activeSilence(rule: NoDataRule, disabledDevices: readonly string[]): ActiveSilence {
  return {
    rule,
    measures: SILENCE,
    disabledDevices: new Set(disabledDevices),
    silenceMicros: microsOf(rule.noData),
  };
}

/** Whether the rule's glob takes the device. */
export function covers({ rule }: Active<Rule>, deviceId: string): boolean {
  return rule.devices === undefined || matchesGlob(rule.devices, deviceId);
}

/** Whether the rule says anything of the device. */
export function watches(active: Active<Rule>, deviceId: string): boolean {
  return !active.disabledDevices.has(deviceId) && covers(active, deviceId);
}

/** Of a duration that parseConfig has accepted. */
function microsOf(text: string | undefined): Micros {
  const duration = text === undefined ? null : parseDuration(text);
  return duration === null ? 0 : (fixedMicros(duration) ?? 0);
}
