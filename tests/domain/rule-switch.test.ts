import { describe, expect, test } from 'bun:test';
import type { Rule } from '../../src/domain/rule.ts';
import { type RuleContent, toRuleSet } from '../../src/domain/rule-content.ts';
import { type RuleSwitch, switchRule } from '../../src/domain/rule-switch.ts';
import { model } from '../../src/model.ts';

const HOT: Rule = {
  id: 'hot',
  key: 'temperature',
  operator: '>',
  threshold: 80,
  message: 'hot',
  severity: 'WARNING',
  enabled: true,
};
const BASE: RuleContent = { shorthands: { temperature_max: 70 }, rules: [HOT] };
const SHORT = 'temperature-max';

/** `hot off d1`, `hot on`: a switch as text. */
function switchOf(text: string): RuleSwitch {
  const [ruleId = '', state, deviceId = null] = text.split(' ');
  return { ruleId, enabled: state === 'on', deviceId };
}

function after(...steps: string[]): RuleContent {
  return steps.reduce((content: RuleContent, step) => {
    const next = switchRule(content, switchOf(step), model);
    if (next === null) throw new Error(`no rule for ${step}`);
    return next;
  }, BASE);
}

/** Whether it is evaluated on a device. */
function isOn(content: RuleContent, ruleId: string, deviceId: string): boolean {
  const { thresholds } = toRuleSet({ userId: 'u', version: 1, content, model });
  const active = thresholds.find(({ rule }) => rule.id === ruleId);
  return active !== undefined && !active.disabledDevices.has(deviceId);
}

describe('a rule is switched', () => {
  test.each([
    [['hot off'], 'hot', { d1: false, d2: false }],
    [['hot off', 'hot on'], 'hot', { d1: true, d2: true }],
    [['hot off d1'], 'hot', { d1: false, d2: true }],
    [['hot off d1', 'hot off d2'], 'hot', { d1: false, d2: false, d3: true }],
    [['hot off d1', 'hot on d1'], 'hot', { d1: true, d2: true }],
    [['hot off d1', 'hot off', 'hot on'], 'hot', { d1: false, d2: true }],
    [['hot off', 'hot on d1'], 'hot', { d1: false }],
    [[`${SHORT} off`], SHORT, { d1: false, d2: false }],
    [[`${SHORT} off`, `${SHORT} on`], SHORT, { d1: true, d2: true }],
    [[`${SHORT} off d1`], SHORT, { d1: false, d2: true }],
    [[`${SHORT} off d1`, `${SHORT} on`], SHORT, { d1: false, d2: true }],
    [[`${SHORT} off d1`, `${SHORT} on d1`], SHORT, { d1: true }],
    [[`${SHORT} off`, `${SHORT} off d1`], SHORT, { d1: false, d2: false }],
    [[`${SHORT} off`, `${SHORT} on d1`], SHORT, { d1: false, d2: false }],
  ])('%p', (steps, ruleId, expected) => {
    const content = after(...steps);
    for (const [deviceId, on] of Object.entries(expected)) {
      expect([deviceId, isOn(content, ruleId, deviceId)]).toEqual([deviceId, on as boolean]);
    }
    const other = ruleId === 'hot' ? SHORT : 'hot';
    expect(isOn(content, other, 'd1')).toBe(true);
  });
});

test('off and on again is the same content, a second time too', () => {
  expect(after('hot off d1', 'hot on d1')).toEqual(BASE);
  expect(after('hot off', 'hot off', 'hot on', 'hot on')).toEqual(BASE);
  expect(after(`${SHORT} off`, `${SHORT} on`)).toEqual(BASE);
  expect(after('hot off d2', 'hot off d1', 'hot off d1').disabled).toEqual({ hot: ['d1', 'd2'] });
});

test('there is no rule of that name, or its shorthand is not set', () => {
  expect(switchRule(BASE, switchOf('cold off'), model)).toBeNull();
  expect(switchRule(BASE, switchOf('constructor off d1'), model)).toBeNull();
  const bare = { shorthands: {}, rules: [HOT] };
  expect(switchRule(bare, switchOf(`${SHORT} off`), model)).toBeNull();
});
