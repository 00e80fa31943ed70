import { expect, test } from 'bun:test';
import type { RuleSet } from '../../src/domain/rule.ts';
import { type ConfigPatch, parseConfig } from '../../src/domain/rule-config.ts';
import {
  contentIssues,
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
