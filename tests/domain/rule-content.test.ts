import { expect, test } from 'bun:test';
import type { RuleSet } from '../../src/domain/rule.ts';
import { type ConfigPatch, parseConfig } from '../../src/domain/rule-config.ts';
import {
  contentIssues,
  etag,
  isEcho,
  mergeConfig,
  NO_CONTENT,
  type RuleContent,
  sameContent,
  toRuleSet,
} from '../../src/domain/rule-content.ts';
import { model } from '../../src/model.ts';
import { configMessage, readConfigMessage } from '../../src/mqtt/config-message.ts';

const RULE = { key: 'battery', operator: '<', threshold: 20, message: 'Low' };

function patch(input: object): ConfigPatch {
  const parsed = parseConfig(input, model);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues));
  return parsed.config;
}
const apply = (content: RuleContent, input: object) => mergeConfig(content, patch(input), model);

test('what a config leaves out stays; null removes', () => {
  const both = apply(NO_CONTENT, { temperature_max: 80, rules: [RULE] });
  expect(apply(both, {})).toEqual(both);
  expect(apply(both, { rules: [] })).toEqual({ shorthands: { temperature_max: 80 }, rules: [] });
  expect(apply(both, { temperature_max: null })).toEqual({ ...both, shorthands: {} });
});

test('content is the same whatever the order of its fields', () => {
  const content = apply(NO_CONTENT, { rules: [RULE] });
  const shuffled = content.rules.map((rule) =>
    Object.fromEntries(Object.entries(rule).reverse()),
  ) as never;
  expect(sameContent(content, { shorthands: {}, rules: shuffled })).toBe(true);
  expect(sameContent(content, { shorthands: {}, rules: [] })).toBe(false);
});

test('what is evaluated: enabled rules, and one for each shorthand', () => {
  const content = apply(NO_CONTENT, {
    temperature_max: 80,
    rules: [RULE, { ...RULE, key: 'x', enabled: false }],
  });
  const set = toRuleSet({ userId: 'u', version: 3, content, model });
  expect(set.rules.length).toBe(2);
  expect(set.thresholds.map(({ rule }) => rule.id)).toEqual(['battery-lt', 'temperature-max']);
  expect(set.thresholds[1]?.rule).toEqual({
    id: 'temperature-max',
    key: 'temperature',
    operator: '>',
    threshold: 80,
    message: 'Temperature {value} is above {threshold}',
    severity: 'WARNING',
    enabled: true,
  });
});

function broadcast(version: number, input: object): string {
  const content = apply(NO_CONTENT, input);
  const ruleSet: RuleSet = toRuleSet({ userId: 'u', version, content, model });
  return configMessage({ ruleSet, updatedAt: 1_700_000_000_000_001, updatedBy: 'sql' }, model);
}

test('a broadcast is known again, an edited one is not', () => {
  const text = broadcast(4, { temperature_max: 80.5, rules: [RULE] });
  expect(JSON.parse(text)).toMatchObject({
    temperature_max: 80.5,
    version: 4,
    updated_at: '2023-11-14T22:13:20.000001Z',
    updated_by: 'sql',
  });
  const kind = (message: string) => readConfigMessage(Buffer.from(message), model).kind;
  expect(kind(text)).toBe('echo');
  expect(kind(broadcast(1, {}))).toBe('echo');
  expect(kind(text.replace('80.5', '81'))).toBe('config');
  expect(kind(text.replace('"version":4', '"version":5'))).toBe('config');
  expect(isEcho(patch({ rules: [], version: 4 }))).toBe(false);
});

test('all that a rule may have comes back from its own broadcast', () => {
  const text = broadcast(2, {
    temperature_max: 80,
    rules: [
      { ...RULE, id: 'a', for: '90s', clear: { threshold: 25, for: '1d' }, devices: 'pump_*' },
      { ...RULE, id: 'b', clear: { threshold: 20 } },
      { noData: '10m', message: 'silent', severity: 'CRITICAL', devices: '?', enabled: false },
      { noData: '10m', message: 'silent' },
      { key: 'state', operator: '!=', threshold: 'up', message: 'm', for: '5m' },
    ],
    disabled: { 'temperature-max': true, a: ['d2', 'd1'], gone: ['d1'] },
  });
  const { rules, disabled } = JSON.parse(text);
  expect(disabled).toEqual({ a: ['d1', 'd2'], 'temperature-max': true });
  expect(rules).toMatchObject([
    { for: 'PT1M30S', clear: { threshold: 25, for: 'P1D' }, devices: 'pump_*' },
    { id: 'b' },
    { id: 'no-data', noData: 'PT10M', enabled: false },
    { id: 'no-data-2' },
    { id: 'state-ne', for: 'PT5M' },
  ]);
  const kind = (change: [from: string, to: string]) =>
    readConfigMessage(Buffer.from(text.replace(...change)), model).kind;
  expect(kind(['', ''])).toBe('echo');
  // In other words, the same content.
  expect(kind(['"PT1M30S"', '"90s"'])).toBe('echo');
  expect(kind(['["d1","d2"]', '["d2","d1","d2"]'])).toBe('echo');
  const edits: [string, string][] = [
    ['"for":"PT1M30S"', '"for":"PT1M31S"'],
    ['"for":"PT1M30S",', ''],
    ['"threshold":25,', ''],
    ['"for":"P1D"', '"for":"P2D"'],
    [',"clear":{"threshold":20}', ''],
    ['"pump_*"', '"pump_?"'],
    ['"noData":"PT10M"', '"noData":"PT11M"'],
    ['["d1","d2"]', '["d1"]'],
    ['"temperature-max":true', '"temperature-max":false'],
  ];
  for (const edit of edits) {
    expect(text).toContain(edit[0]);
    expect([edit, kind(edit)]).toEqual([edit, 'config']);
  }
  // Applied to itself it changes nothing.
  const content = apply(NO_CONTENT, JSON.parse(text));
  expect(sameContent(apply(content, JSON.parse(text)), content)).toBe(true);
});

test('rules from before there were more fields keep their etag', () => {
  const content = apply(NO_CONTENT, { temperature_max: 80.5, rules: [RULE] });
  expect(etag(content, 4)).toBe('315fb3c01b308dbf88249cd88e0fb545');
  expect(etag(NO_CONTENT, 1)).toBe('b7195be62cd230d867f32601500fa1b1');
});

test('what is off stays so, until it is said anew or its rule goes', () => {
  const rules = [{ ...RULE, id: 'a' }];
  const off = apply(NO_CONTENT, { rules, disabled: { a: ['d1'], other: ['d1'] } });
  expect(off.disabled).toEqual({ a: ['d1'] });
  expect(apply(off, { rules }).disabled).toEqual({ a: ['d1'] });
  expect(apply(off, { temperature_max: 1 }).disabled).toEqual({ a: ['d1'] });
  expect(apply(off, { disabled: { a: ['d2'] } }).disabled).toEqual({ a: ['d2'] });
  for (const none of [{ disabled: {} }, { disabled: { a: [] } }, { rules: [] }]) {
    expect(apply(off, none)).not.toHaveProperty('disabled');
  }
});

test('the rule of a shorthand is off altogether, or on some devices', () => {
  const setOf = (disabled: object) => {
    const content = apply(NO_CONTENT, { temperature_max: 80, disabled });
    return toRuleSet({ userId: 'u', version: 1, content, model });
  };
  const off = setOf({ 'temperature-max': true });
  expect(off.thresholds).toEqual([]);
  expect(off.all).toMatchObject([{ id: 'temperature-max', enabled: false }]);
  const some = setOf({ 'temperature-max': ['d1'] });
  expect([...(some.thresholds[0]?.disabledDevices ?? [])]).toEqual(['d1']);
});

test('a message that is no config is none', () => {
  const read = (bytes: Uint8Array) => readConfigMessage(bytes, model);
  expect(read(new Uint8Array())).toEqual({ kind: 'cleared' });
  expect(read(Buffer.from('{"rules":')).kind).toBe('invalid');
  expect(read(Buffer.from([0x22, 0xff, 0x22])).kind).toBe('invalid');
  expect(read(Buffer.from('['.repeat(500_000))).kind).toBe('invalid');
  expect(read(Buffer.alloc(1_000_001, ' ')).kind).toBe('invalid');
});

test('what grew too large rule by rule is refused, and the largest valid one is an echo', () => {
  const rules = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      ...{ key: `k${index}`, operator: '!=', threshold: 'ä'.repeat(200) },
      message: 'm'.repeat(400),
    }));
  const content = apply(NO_CONTENT, { rules: rules(70) });
  expect(contentIssues(content, model)).toEqual([]);
  const grown = { ...content, rules: [...content.rules, ...content.rules] };
  const [issue] = contentIssues(
    { ...grown, rules: grown.rules.map((rule, index) => ({ ...rule, id: `r${index}` })) },
    model,
  );
  expect(issue?.path).toBe('rules');
  expect(issue?.message).toMatch(/take \d+ bytes as JSON; at most 65536/);
  const text = broadcast(1, { rules: rules(70) });
  expect(readConfigMessage(Buffer.from(text), model).kind).toBe('echo');
});
