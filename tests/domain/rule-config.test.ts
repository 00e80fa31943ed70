import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { parseJson } from '../../src/domain/json.ts';
import { parseConfig } from '../../src/domain/rule-config.ts';
import type { RuleDraft } from '../../src/domain/rule-fields.ts';
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

describe('a field that is optional', () => {
  const NO_DATA = { noData: '10m', message: 'silent' };
  const ABOVE = { key: 'x', operator: '>', threshold: 80, message: 'hot' };
  const SAME = { key: 'x', operator: '==', threshold: 'up', message: 'up' };

  /** What is at the path, and how the fault begins; a rule without a fault has none. */
  const table: [rule: object, path: string | null, fault?: string][] = [
    [{ ...ABOVE, for: '5m' }, null],
    [{ ...ABOVE, for: 'P31D' }, null],
    [{ ...ABOVE, for: 'P31DT1S' }, 'for', 'is longer than 31 days'],
    [
      { ...ABOVE, for: 'P1M' },
      'for',
      'must be a duration such as PT5M, 90s or P1D, without months',
    ],
    [{ ...ABOVE, for: 'P1Y' }, 'for', 'must be a duration'],
    [{ ...ABOVE, for: 'five' }, 'for', 'must be a duration'],
    [{ ...ABOVE, for: '' }, 'for', 'must be a duration'],
    [{ ...ABOVE, for: '-5m' }, 'for', 'must be a duration'],
    [{ ...ABOVE, for: 300 }, 'for', 'must be a duration'],
    [{ ...ABOVE, for: {} }, 'for', 'must be a duration'],
    [{ ...SAME, for: '5m' }, null],
    [{ ...ABOVE, clear: { threshold: 75 } }, null],
    [{ ...ABOVE, clear: { threshold: 80 } }, null],
    [{ ...ABOVE, clear: { threshold: 80.1 } }, 'clear.threshold', 'must be at most the threshold'],
    [{ ...ABOVE, operator: '>=', clear: { threshold: 81 } }, 'clear.threshold', 'must be at most'],
    [{ ...ABOVE, operator: '<', clear: { threshold: 85 } }, null],
    [{ ...ABOVE, operator: '<', clear: { threshold: 79 } }, 'clear.threshold', 'must be at least'],
    [{ ...ABOVE, operator: '<=', clear: { threshold: 79 } }, 'clear.threshold', 'must be at least'],
    [{ ...ABOVE, clear: { threshold: '75' } }, 'clear.threshold', 'must be a finite number'],
    [{ ...ABOVE, clear: { threshold: Infinity } }, 'clear.threshold', 'must be a finite number'],
    [{ ...SAME, clear: { for: '5m' } }, null],
    [{ ...SAME, clear: { threshold: 1 } }, 'clear.threshold', 'is for > < >= <=; with == give'],
    [{ ...ABOVE, operator: '!=', clear: { threshold: 1 } }, 'clear.threshold', 'is for > <'],
    [{ ...ABOVE, clear: { for: '5m', after: 1 } }, 'clear.after', 'is not a field here; known are'],
    [{ ...ABOVE, clear: { for: 'P32D' } }, 'clear.for', 'is longer than 31 days'],
    [{ ...ABOVE, clear: { for: 'x' } }, 'clear.for', 'must be a duration'],
    [{ ...ABOVE, clear: 75 }, 'clear', 'must be an object such as'],
    [{ ...ABOVE, clear: [] }, 'clear', 'must be an object such as'],
    [{ ...ABOVE, devices: 'pump_*' }, null],
    [{ ...ABOVE, devices: '' }, 'devices', 'must be text'],
    [{ ...ABOVE, devices: ['pump_1'] }, 'devices', 'must be text'],
    [{ ...ABOVE, devices: 'x'.repeat(201) }, 'devices', 'is 201 characters long'],
    [{ ...ABOVE, devices: 'a\0' }, 'devices', 'holds a NUL'],
    [NO_DATA, null],
    [{ ...NO_DATA, noData: '15s' }, null],
    [{ ...NO_DATA, noData: '14999ms' }, 'noData', 'is shorter than 15 seconds'],
    [{ ...NO_DATA, noData: '0s' }, 'noData', 'is shorter than 15 seconds'],
    [{ ...NO_DATA, noData: 'P366D' }, null],
    [{ ...NO_DATA, noData: 'P367D' }, 'noData', 'is longer than 366 days'],
    [{ ...NO_DATA, noData: 'P1M' }, 'noData', 'must be a duration'],
    [{ ...NO_DATA, noData: 600 }, 'noData', 'must be a duration'],
    [{ ...NO_DATA, noData: false }, 'noData', 'must be a duration'],
    [{ ...NO_DATA, noData: '' }, 'noData', 'must be a duration'],
    [{ ...NO_DATA, key: 'x' }, 'key', 'is not a field here; known are id, noData'],
    [{ ...NO_DATA, for: '5m' }, 'for', 'is not a field here'],
    [{ ...NO_DATA, clear: {} }, 'clear', 'is not a field here'],
    [{ ...NO_DATA, message: undefined }, 'message', 'is missing'],
    [{ ...NO_DATA, devices: 'pump_?', severity: 'INFO', enabled: false }, null],
    [{ message: 'm' }, 'key', 'is missing'],
  ];
  for (const [rule, path, fault] of table) {
    test(JSON.stringify(rule).slice(0, 90), () => {
      const [first] = ruleIssues(rule);
      if (path === null) expect(first).toBeUndefined();
      else expect(first).toStartWith(`rules.0.${path}: ${fault}`);
    });
  }

  const read = (rule: object): object => {
    const parsed = parseConfig({ rules: [rule] }, model);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues));
    const [first] = parsed.config.rules as [RuleDraft];
    const { id: _, severity: __, enabled: ___, ...rest } = first;
    return rest;
  };

  test('is in ISO 8601 when it is a duration, whatever it was written in', () => {
    const written = { '300s': 'PT5M', '90s': 'PT1M30S', '1d': 'P1D', '24h': 'PT24H', P7D: 'P1W' };
    for (const [text, canonical] of Object.entries(written)) {
      expect(read({ ...ABOVE, for: text, clear: { for: text } })).toEqual({
        ...ABOVE,
        for: canonical,
        clear: { for: canonical },
      });
      expect(read({ ...NO_DATA, noData: text })).toEqual({ ...NO_DATA, noData: canonical });
    }
  });

  test('is no property where it is left out, null, or says nothing', () => {
    const nothing = [{ for: null, clear: null, devices: null, noData: null }, { for: '0s' }];
    const more = [{ clear: {} }, { clear: { for: 'PT0S', threshold: null } }, { devices: '*' }];
    for (const none of [...nothing, ...more]) expect(read({ ...ABOVE, ...none })).toEqual(ABOVE);
    expect(read({ ...NO_DATA, devices: '*' })).toEqual({ ...NO_DATA, noData: 'PT10M' });
  });
});

describe('`disabled`', () => {
  const read = (disabled: unknown) => {
    const parsed = parseConfig({ disabled }, model);
    return parsed.ok
      ? parsed.config.disabled
      : parsed.issues.map(({ path, message }) => `${path}: ${message}`);
  };
  const devices = (count: number) => Array.from({ length: count }, (_, n) => `d${n}`);

  test('names rules, and their devices once and in order', () => {
    expect(read({ a: ['d2', 'd1', 'd2'], 'temperature-max': true })).toEqual({
      a: ['d1', 'd2'],
      'temperature-max': true,
    });
    expect(read({ a: [], b: false, 'temperature-max': ['d1'] })).toEqual({
      'temperature-max': ['d1'],
    });
    expect(read({})).toEqual({});
  });

  const faulty: [given: unknown, fault: string][] = [
    [null, 'disabled: must be an object such as {"battery-lt": ["pump_1"]}, not null'],
    [['a'], 'disabled: must be an object'],
    [{ a: true }, 'disabled.a: true is for the rules of shorthands: set "enabled": false'],
    [{ 'a b': [] }, 'disabled.a b: is not the id of a rule'],
    [parseJson('{"__proto__": ["d"]}'), 'disabled.__proto__: is not the id of a rule'],
    [{ toString: ['d'] }, 'disabled.toString: is not the id of a rule'],
    [{ a: 'd' }, 'disabled.a: must be a list of at most 1000 device ids, not "d"'],
    [{ a: [1] }, 'disabled.a.0: must be text, not the number 1'],
    [{ a: ['d', ''] }, 'disabled.a.1: must be text, not empty text'],
    [{ a: ['x'.repeat(257)] }, 'disabled.a.0: is 257 characters long'],
    [{ a: devices(1_001) }, 'disabled.a: must be a list of at most 1000 device ids, not a list'],
  ];
  for (const [given, fault] of faulty) {
    test(fault, () => expect((read(given) as string[])[0]).toStartWith(fault));
  }

  test('counts in the bytes that a config may have', () => {
    const many = Object.fromEntries(devices(20).map((id) => [id, devices(1_000)]));
    expect(read(many)).toEqual([expect.stringMatching(/^rules: the rules take \d+ bytes/)]);
  });
});
