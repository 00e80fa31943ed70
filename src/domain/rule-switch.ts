import type { Model } from './model.ts';
import type { RuleContent } from './rule-content.ts';
import { disabledDevices, withDisabled } from './rule-content.ts';

export interface RuleSwitch {
  ruleId: string;
  /** Null: on all devices. A device that has sent nothing yet may be named. */
  deviceId: string | null;
  enabled: boolean;
}

/**
 * Turns a rule on or off, altogether or on one device. The two are apart: a rule that is turned on
 * again stays off on the devices on which it was. Only the rule of a shorthand, which has no
 * `enabled` of its own, forgets those when it is turned off altogether.
 *
 * @returns null where there is no such rule
 */
export function switchRule(
  content: RuleContent,
  { ruleId, deviceId, enabled }: RuleSwitch,
  model: Model,
): RuleContent | null {
  const { rules, disabled = {} } = content;
  const isOwn = rules.some(({ id }) => id === ruleId);
  const isShorthand = Object.entries(model.shorthands).some(
    ([name, { id }]) => id === ruleId && content.shorthands[name] !== undefined,
  );
  if (!isOwn && !isShorthand) return null;
  if (deviceId === null && isOwn) {
    return { ...content, rules: rules.map((r) => (r.id === ruleId ? { ...r, enabled } : r)) };
  }
  const isAllOff = disabled[ruleId] === true;
  const others = disabledDevices({ disabled }, ruleId).filter((id) => id !== deviceId);
  let off: true | string[];
  if (deviceId === null) off = enabled ? others : true;
  else if (isAllOff) off = true;
  else off = enabled ? others : [...others, deviceId].sort();
  // A shorthand that is turned on while only some devices are off stays off there.
  return withDisabled(content, Object.entries({ ...disabled, [ruleId]: off }));
}
