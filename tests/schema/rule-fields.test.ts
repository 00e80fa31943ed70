import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { type Stage, stage } from './support.ts';

let on: Stage;
beforeAll(async () => {
  on = await stage();
}, 30_000);
afterAll(() => on.close());

const FIELDS = `version rules { id ruleId kind key operator threshold message severity for
  clear { threshold for } noData devices enabled disabledDevices }`;
const PLAIN = {
  kind: 'THRESHOLD',
  for: null,
  clear: null,
  noData: null,
  devices: null,
  severity: 'WARNING',
  enabled: true,
  disabledDevices: [],
};

async function setRules(userId: string, rules: object[] | null, more: object = {}) {
  const { data, errors } = await on.query(
    `mutation ($userId: ID, $rules: [RuleInput!], $expectedVersion: Int) {
      setRules(userId: $userId, rules: $rules, expectedVersion: $expectedVersion) { ${FIELDS} } }`,
    { userId, rules, ...more },
  );
  return { set: data?.setRules, error: errors?.[0] };
}

async function upsert(userId: string, rule: object, expectedVersion: number | null = null) {
  const { data, errors } = await on.query(
    `mutation ($userId: ID, $rule: RuleInput!, $expectedVersion: Int) {
      upsertRule(userId: $userId, rule: $rule, expectedVersion: $expectedVersion) { ${FIELDS} } }`,
    { userId, rule, expectedVersion },
  );
  return { set: data?.upsertRule, error: errors?.[0] };
}

const HOT = { key: 'temperature', operator: 'GT', threshold: 80, message: 'hot' };
const QUIET = { kind: 'NO_DATA', noData: 'PT10M', message: 'quiet' };

describe('what a rule is given it has', () => {
  const cases: [string, object, object][] = [
    ['nothing but what it needs', {}, { ruleId: 'temperature-gt' }],
    ['a hold, in other words', { for: '90s' }, { for: 'PT1M30S' }],
    ['a hold of no time, which is none', { for: 'PT0S' }, { for: null }],
    [
      'hysteresis by a threshold',
      { clear: { threshold: 75.5 } },
      { clear: { threshold: 75.5, for: null } },
    ],
    ['hysteresis by a hold', { clear: { for: '1d' } }, { clear: { threshold: null, for: 'P1D' } }],
    [
      'hysteresis by both',
      { clear: { threshold: 70, for: 'PT5M' } },
      { clear: { threshold: 70, for: 'PT5M' } },
    ],
    ['hysteresis by nothing, which is none', { clear: {} }, { clear: null }],
    ['a glob', { devices: 'pump_?*' }, { devices: 'pump_?*' }],
    ['a glob for all, which is none', { devices: '*' }, { devices: null }],
    ['a severity', { severity: 'CRITICAL' }, { severity: 'CRITICAL' }],
    ['that it is off', { enabled: false }, { enabled: false }],
    ['null for what may be left out', { for: null, clear: null, devices: null }, {}],
  ];
  test.each(cases)('%s', async (name, given, has) => {
    const { set, error } = await setRules(name.replaceAll(' ', '_'), [{ ...HOT, ...given }]);
    expect(error).toBeUndefined();
    expect(set.rules).toMatchObject([{ ...PLAIN, ...HOT, ...has }]);
  });

  test('text and booleans to compare with', async () => {
    const text = { key: 'state', operator: 'NE', threshold: 'OK', message: 'm' };
    const flag = { key: 'door.open', operator: 'EQ', threshold: true, message: 'm', for: '5m' };
    const { set } = await setRules('text', [text, flag]);
    expect(set.rules).toMatchObject([text, { ...flag, for: 'PT5M' }]);
  });

  test('no data for a while, which has no key, operator or threshold', async () => {
    const { set } = await setRules('quiet', [QUIET, { ...QUIET, noData: '1d', devices: 'a*' }]);
    const nothing = { key: null, operator: null, threshold: null, for: null, clear: null };
    expect(set.rules).toMatchObject([
      { ...PLAIN, ...nothing, ...QUIET, ruleId: 'no-data' },
      { ...PLAIN, ...nothing, ...QUIET, ruleId: 'no-data-2', noData: 'P1D', devices: 'a*' },
    ]);
  });
});

describe('a fault is told at its argument, and changes nothing', () => {
  const cases: [string, object, string[]][] = [
    ['a hold of a month', { ...HOT, for: 'P1M' }, ['for']],
    ['a hold that is too long', { ...HOT, for: 'P32D' }, ['for']],
    ['a hold of no data', { ...QUIET, for: 'PT5M' }, ['for']],
    [
      'a threshold to clear on the wrong side',
      { ...HOT, clear: { threshold: 81 } },
      ['clear.threshold'],
    ],
    ['text to clear', { ...HOT, clear: { threshold: 'x' } }, ['clear.threshold']],
    [
      'a threshold to clear of what is equal',
      { ...HOT, operator: 'EQ', clear: { threshold: 1 } },
      ['clear.threshold'],
    ],
    ['a month to clear', { ...HOT, clear: { for: 'P1M' } }, ['clear.for']],
    ['hysteresis of no data', { ...QUIET, clear: { for: 'PT1M' } }, ['clear']],
    ['a key of no data', { ...QUIET, key: 'battery' }, ['key']],
    ['no data for no time', { kind: 'NO_DATA', message: 'm' }, ['noData']],
    ['no data for too short', { ...QUIET, noData: 'PT14S' }, ['noData']],
    ['no data for too long', { ...QUIET, noData: 'P367D' }, ['noData']],
    ['an empty glob', { ...HOT, devices: '' }, ['devices']],
    ['a long glob', { ...HOT, devices: 'x'.repeat(201) }, ['devices']],
    ['an id that is none', { ...HOT, ruleId: 'a b' }, ['ruleId']],
    ['the id of a shorthand', { ...HOT, ruleId: 'temperature-max' }, ['ruleId']],
    ['the key of a reading', { ...HOT, key: 'time' }, ['key']],
    [
      'several at once',
      { ...HOT, key: 'a..b', for: 'P1Y', devices: '', clear: { for: 'P1Y' } },
      ['key', 'for', 'clear.for', 'devices'],
    ],
  ];
  test.each(cases)('%s', async (name, rule, paths) => {
    const userId = name.replaceAll(' ', '_');
    const pathsOf = ({ error }: { error?: { extensions: Record<string, unknown> } }) => {
      expect(error?.extensions.code).toBe('BAD_USER_INPUT');
      const issues = (error?.extensions.issues ?? []) as { path: string }[];
      return issues.map(({ path }) => path);
    };
    const inList = await setRules(userId, [HOT, rule]);
    expect(pathsOf(inList)).toEqual(paths.map((path) => `rules.1.${path}`));
    const alone = await upsert(userId, rule);
    expect(pathsOf(alone)).toEqual(paths.map((path) => `rule.${path}`));
    expect(await on.sql`SELECT FROM user_configs WHERE user_id = ${userId}`).toHaveLength(0);
  });
});

test('upsertRule keeps the id of the rule that it takes the place of, and its place', async () => {
  await setRules('keep', [HOT, QUIET, { ...HOT, key: 'battery' }]);
  const edited = await upsert('keep', { ...HOT, threshold: 90, for: 'PT5M', message: 'hotter' });
  expect(edited.set).toMatchObject({
    version: 2,
    rules: [{ ruleId: 'temperature-gt', threshold: 90, for: 'PT5M' }, {}, {}],
  });
  const quieter = await upsert('keep', { ...QUIET, noData: 'PT1H' });
  expect(quieter.set.rules).toMatchObject([{}, { ruleId: 'no-data', noData: 'PT1H' }, {}]);
  const named = await upsert('keep', { ...HOT, ruleId: 'own', threshold: 1 });
  expect(named.set.rules[3]).toMatchObject({ ruleId: 'own' });
  // What is left out of a rule is off: it is put whole.
  const whole = await upsert('keep', { ...HOT, ruleId: 'temperature-gt', threshold: 90 });
  expect(whole.set.rules[0]).toMatchObject({ for: null, threshold: 90, message: 'hot' });
});

test('another expectedVersion is a CONFLICT, for every mutation', async () => {
  await setRules('conflict', [HOT]);
  const { error: set } = await setRules('conflict', [], { expectedVersion: 0 });
  const { error: put } = await upsert('conflict', { ...HOT, threshold: 1 }, 2);
  const { errors } = await on.query(
    `mutation { deleteRule(userId: "conflict", ruleId: "temperature-gt", expectedVersion: 9) { version } }`,
  );
  for (const error of [set, put, errors?.[0]]) {
    expect(error?.extensions).toMatchObject({ code: 'CONFLICT', version: 1 });
  }
  const fits = await upsert('conflict', { ...HOT, threshold: 1 }, 1);
  expect(fits.set.version).toBe(2);
  const first = await setRules('unborn', [HOT], { expectedVersion: 0 });
  expect(first.set.version).toBe(1);
});

test('devices on which a rule is off stay so over an edit, and go with the rule', async () => {
  await setRules('off', [HOT, QUIET]);
  await on.sql`UPDATE user_configs
    SET disabled = '{"temperature-gt": ["d2", "d1"], "no-data": ["d3"]}' WHERE user_id = 'off'`;
  const edited = await upsert('off', { ...HOT, threshold: 90 });
  expect(edited.set.rules).toMatchObject([
    { disabledDevices: ['d1', 'd2'] },
    { disabledDevices: ['d3'] },
  ]);
  await on.query('mutation { deleteRule(userId: "off", ruleId: "temperature-gt") { version } }');
  const again = await upsert('off', HOT);
  expect(again.set.rules).toMatchObject([
    { ruleId: 'no-data', disabledDevices: ['d3'] },
    { ruleId: 'temperature-gt', disabledDevices: [] },
  ]);
});

test('a shorthand that is off is on again once it was deleted', async () => {
  const set = (value: number) =>
    on.query(`mutation { setRules(userId: "short", temperatureMax: ${value}) { version } }`);
  await set(80);
  await on.sql`UPDATE user_configs SET disabled = '{"temperature-max": true}' WHERE user_id = 'short'`;
  await on.query('mutation { deleteRule(userId: "short", ruleId: "temperature-max") { version } }');
  await set(85);
  const [row] = await on.sql`SELECT accepted FROM user_configs WHERE user_id = 'short'`;
  expect(row?.accepted).toEqual({ rules: [], shorthands: { temperature_max: 85 } });
});
