import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { parseJson } from '../../src/domain/json.ts';
import { parseConfig } from '../../src/domain/rule-config.ts';
import { model } from '../../src/model.ts';

const RULE = { key: 'battery', operator: '<', threshold: 20, message: 'Low' };

function issues(input: unknown): string[] {
  const parsed = parseConfig(input, model);
  return parsed.ok ? [] : parsed.issues.map(({ path, message }) => `${path}: ${message}`);
}
const ruleIssues = (rule: unknown) => issues({ rules: [rule] });

test('four fields make a rule; the rest has defaults', () => {
  const parsed = parseConfig({ temperature_max: 80, rules: [RULE] }, model);
  expect(parsed).toEqual({
    ok: true,
    config: {
      shorthands: { temperature_max: 80 },
      rules: [{ ...RULE, operator: '<', id: null, severity: 'WARNING', enabled: true }],
    },
  });
});

test('what is left out is left out, and null takes a shorthand away', () => {
  expect(parseConfig({}, model)).toEqual({ ok: true, config: { shorthands: {} } });
  expect(parseConfig({ temperature_max: null }, model)).toEqual({
    ok: true,
    config: { shorthands: { temperature_max: null } },
  });
});

test('every fault is told, each with its path', () => {
  const faults = issues({
    temperature_max: 'hot',
    colour: 'red',
    version: 1.5,
    rules: [{ key: '', operator: '=>', threshold: null, severity: 'BAD', enabled: 1, id: 'a b' }],
  });
  expect(faults.map((fault) => fault.split(':')[0])).toEqual([
    'colour',
    'temperature_max',
    'rules.0.id',
    'rules.0.key',
    'rules.0.operator',
    'rules.0.threshold',
    'rules.0.message',
    'rules.0.severity',
    'rules.0.enabled',
    'version',
  ]);
  expect(faults[0]).toContain('known are temperature_max, rules');
});

describe('a rule is refused', () => {
  const faulty: [string, object, string][] = [
    ['with an unknown field', { trigger: 1 }, 'rules.0.trigger: is not a field here; known are id'],
    ['with the id of the shorthand', { id: 'temperature-max' }, 'is the rule of temperature_max'],
    ['with an id that objects have', { id: 'constructor' }, 'is reserved'],
    ['with text to be less than', { key: 'x', threshold: 'a' }, 'takes == or !='],
    ['with text for a number', { operator: '==', threshold: 'a' }, 'must be a number, as'],
    ['with an infinite threshold', { threshold: Number.POSITIVE_INFINITY }, 'finite number'],
    ['on an empty path', { key: 'engine..rpm' }, 'empty name'],
    ['on the key of a reading', { key: 'time' }, 'identifies a reading'],
    ['with a NUL', { message: 'a\0b' }, 'NUL'],
    ['with half a character', { message: '\ud800' }, 'surrogate'],
    ['with a long message', { message: 'x'.repeat(1_001) }, 'at most 1000'],
  ];
  for (const [name, fields, fault] of faulty) {
    test(name, () => expect(ruleIssues({ ...RULE, ...fields }).join('\n')).toContain(fault));
  }
});

test('two rules may not have one id, and 201 are too many', () => {
  expect(
    issues({
      rules: [
        { ...RULE, id: 'a' },
        { ...RULE, id: 'a' },
      ],
    }),
  ).toEqual(['rules.1.id: "a" is the id of rules.0 too']);
  expect(issues({ rules: Array(201).fill(RULE) })[0]).toContain('at most 200');
});

test('text and booleans are thresholds of == and !=, on any undeclared key', () => {
  expect(ruleIssues({ ...RULE, key: 'door.open', operator: '==', threshold: true })).toEqual([]);
  expect(ruleIssues({ ...RULE, key: 'state', operator: '!=', threshold: '' })).toEqual([]);
});

test('a number past what a double holds is not finite', () => {
  expect(issues(parseJson('{"temperature_max": 1e999}'))[0]).toContain('finite number');
  expect(issues(parseJson('{"temperature_max": 80.00000000000000001}'))).toEqual([]);
});

test('anything at all is read without an exception, and faults can be stored', () => {
  fc.assert(
    fc.property(fc.anything(), fc.string({ unit: 'binary' }), (value, name) => {
      for (const input of [value, { rules: value }, { rules: [value] }, { [name]: value }]) {
        const parsed = parseConfig(input, model);
        if (!parsed.ok) {
          const text = parsed.issues.map((issue) => issue.path + issue.message).join('');
          expect(text.isWellFormed() && !text.includes('\0')).toBe(true);
        }
      }
    }),
  );
});

test('all rules together are bounded in bytes, so that a broker takes their broadcast', () => {
  const rules = (count: number, message: string) =>
    Array.from({ length: count }, (_, index) => ({ ...RULE, id: `r${index}`, message }));
  expect(issues({ rules: rules(200, 'x'.repeat(150)) })).toEqual([]);
  const [fault] = issues({ rules: rules(60, 'x'.repeat(1_000)) });
  expect(fault).toMatch(/^rules: the rules take \d+ bytes as JSON; at most 65536$/);
  // Bytes, not characters: the same number of characters fits in ASCII.
  expect(issues({ rules: rules(60, 'x'.repeat(900)) })).toEqual([]);
  expect(issues({ rules: rules(60, 'é'.repeat(900)) })).toHaveLength(1);
});
