import { afterEach, beforeEach, expect, test } from 'bun:test';
import { parseConfig } from '../../src/domain/rule-config.ts';
import { mergeConfig } from '../../src/domain/rule-content.ts';
import { model } from '../../src/model.ts';
import { changeRules } from '../../src/store/change-rules.ts';
import { lockRuleVersions } from '../../src/store/lock-rule-versions.ts';
import { readRuleConfigs } from '../../src/store/read-rule-configs.ts';
import { reviewRules } from '../../src/store/review-rules.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const LOW = { key: 'battery', operator: '<', threshold: 20, message: 'Low' };
const HOT = { key: 'temperature', operator: '>', threshold: 80, message: 'Hot' };

let db: TestDatabase;
beforeEach(async () => {
  db = await testDatabase();
}, 30_000);
afterEach(() => db.drop());

function change(input: object, options: { userId?: string; expectedVersion?: number } = {}) {
  return changeRules(db.sql, {
    userId: 'u',
    change: (current) => {
      const parsed = parseConfig(input, model);
      return parsed.ok ? mergeConfig(current, parsed.config, model) : { issues: parsed.issues };
    },
    actor: 'graphql:operator',
    model,
    ...options,
  });
}
const write = (rules: unknown, userId = 'u') =>
  db.sql`INSERT INTO user_configs (user_id, rules) VALUES (${userId}, ${db.sql.json(rules as never)})
         ON CONFLICT (user_id) DO UPDATE SET rules = EXCLUDED.rules`;
const review = () => reviewRules(db.sql, { model });
async function config(userId = 'u') {
  const configs = await readRuleConfigs(db.sql, { userIds: [userId], model });
  const found = configs.get(userId);
  if (found === undefined) throw new Error('every user gets an entry');
  return found;
}
const locked = (...userIds: string[]) =>
  db.sql.begin((tx) => lockRuleVersions(tx as never, userIds));
const summary = (ruleSet: { version: number; thresholds: readonly { rule: { id: string } }[] }) => [
  ruleSet.version,
  ...ruleSet.thresholds.map(({ rule }) => rule.id),
];

test('a first config is version 1, an equal one is no change', async () => {
  const first = await change({ temperature_max: 80, rules: [LOW] });
  expect(first).toMatchObject({ kind: 'ok', changed: true });
  expect(await change({ rules: [LOW] })).toMatchObject({ kind: 'ok', changed: false });
  const read = await config();
  if (first.kind === 'ok') expect(read.ruleSet).toEqual(first.ruleSet);
  expect(summary(read.ruleSet)).toEqual([1, 'battery-lt', 'temperature-max']);
  expect(read).toMatchObject({ updatedBy: 'graphql:operator', issues: [], exists: true });
  const rows = await db.sql`SELECT kind, version, actor FROM rule_changes ORDER BY seq`;
  expect(rows.map((row) => Object.values(row).join(' '))).toEqual([
    'WRITTEN 1 graphql:operator',
    'REVIEWED 1 graphql:operator',
  ]);
});

test('nothing is made of an empty change for a user without a config', async () => {
  expect(await change({ rules: [] })).toMatchObject({ changed: false, ruleSet: { version: 0 } });
  expect(await db.sql`SELECT FROM user_configs`).toHaveLength(0);
});

test('an expected version that is not in force is a conflict and changes nothing', async () => {
  await change({ rules: [LOW] }, { expectedVersion: 0 });
  expect(await change({ rules: [] }, { expectedVersion: 0 })).toEqual({
    kind: 'conflict',
    version: 1,
  });
  expect(await change({ rules: [] }, { expectedVersion: 1 })).toMatchObject({ changed: true });
  await db.sql`DELETE FROM user_configs`;
  expect(await change({ rules: [LOW] }, { expectedVersion: 2 })).toEqual({
    kind: 'conflict',
    version: 3,
  });
  expect(await change({ rules: [LOW] }, { expectedVersion: 3 })).toMatchObject({
    ruleSet: { version: 4 },
  });
});

test('content that code put together is checked like what users write', async () => {
  const rule = { ...LOW, id: 'temperature-max', severity: 'WARNING', enabled: true };
  const result = await changeRules(db.sql, {
    userId: 'u',
    change: () => ({ shorthands: {}, rules: [rule as never] }),
    actor: 'a',
    model,
  });
  expect(result).toMatchObject({ kind: 'invalid', issues: [{ path: 'rules.0.id' }] });
});

test('concurrent changes of one user all count', async () => {
  const rules = Array.from({ length: 8 }, (_, n) => ({ ...LOW, id: `r${n}` }));
  await Promise.all(
    rules.map((rule) =>
      changeRules(db.sql, {
        userId: 'u',
        change: (current) => ({
          ...current,
          rules: [...current.rules, { ...rule, severity: 'INFO', enabled: true } as never],
        }),
        actor: 'a',
        model,
      }),
    ),
  );
  const { ruleSet } = await config();
  expect(ruleSet.version).toBe(8);
  expect(ruleSet.rules.map((rule) => rule.id).sort()).toEqual(rules.map((rule) => rule.id));
});

test('what SQL wrote is reviewed, with ids written back and no new version', async () => {
  await write([LOW, HOT]);
  expect(summary((await config()).ruleSet)).toEqual([0]);
  expect((await review()).reviews).toEqual([{ userId: 'u', version: 1, issues: [] }]);
  expect((await review()).reviews).toEqual([]);
  const [row] = await db.sql`SELECT rules, version FROM user_configs`;
  expect(row).toEqual({
    rules: [
      { ...LOW, id: 'battery-lt' },
      { ...HOT, id: 'temperature-gt' },
    ],
    version: 1,
  });
  expect(await config()).toMatchObject({ updatedBy: 'sql' });
  await write([LOW, HOT]);
  expect((await review()).reviews).toEqual([]);
  await write([HOT]);
  await review();
  expect(summary((await config()).ruleSet)).toEqual([2, 'temperature-gt']);
});

const GARBAGE: [string, unknown][] = [
  ['an object', { a: 1 }],
  ['a list of numbers', [1, null, 'x']],
  ['a wrong operator', [{ ...LOW, operator: '~' }]],
  ['a number out of range', [{ ...LOW, threshold: 'NaN' }]],
  ['too much', ['x'.repeat(1_100_000)]],
];
for (const [name, rules] of GARBAGE) {
  test(`${name} is refused; the last valid rules stay in force, other users get theirs`, async () => {
    await write([LOW]);
    await review();
    await write(rules);
    await write([HOT], 'v');
    expect((await review()).reviews).toMatchObject([{ userId: 'u' }, { userId: 'v', issues: [] }]);
    const refused = await config();
    expect(summary(refused.ruleSet)).toEqual([1, 'battery-lt']);
    expect(refused.reviewedVersion).toBe(2);
    expect(refused.issues.length).toBeGreaterThan(0);
    expect((await review()).reviews).toEqual([]);
    // Writing what is in force takes the refused content away.
    expect(await change({ rules: [LOW] })).toMatchObject({ changed: true });
    expect(await config()).toMatchObject({ issues: [], ruleSet: { version: 3 } });
  });
}

test('NaN, infinity and JSON nested deep are refused', async () => {
  await db.sql`INSERT INTO user_configs (user_id, temperature_max, rules) VALUES
    ('u1', 'NaN', '[]'), ('u2', '-Infinity', '[]'),
    ('u3', 1, (repeat('[', 5000) || repeat(']', 5000))::jsonb)`;
  const { reviews } = await review();
  expect(reviews.map((one) => one.issues[0]?.path)).toEqual([
    'temperature_max',
    'temperature_max',
    'rules.0',
  ]);
});

test('a change builds on what SQL wrote a moment before', async () => {
  await write([LOW]);
  await change({ temperature_max: 70 });
  expect(summary((await config()).ruleSet)).toEqual([2, 'battery-lt', 'temperature-max']);
});

test('a config that another transaction holds is passed over', async () => {
  await write([LOW]);
  await write([LOW], 'v');
  await db.sql.begin(async (tx) => {
    await tx`SELECT FROM user_configs WHERE user_id = 'u' FOR UPDATE`;
    expect((await review()).reviews.map((one) => one.userId)).toEqual(['v']);
  });
  expect((await review()).reviews.map((one) => one.userId)).toEqual(['u']);
});

test('the version that a transaction locks is that of the rule set, deleted or not', async () => {
  await change({ rules: [LOW] });
  await write([HOT], 'v');
  await review();
  await db.sql`DELETE FROM user_configs WHERE user_id = 'v'`;
  const versions = { u: 1, v: 2, w: 0 };
  expect(Object.fromEntries(await locked('w', 'v', 'u'))).toEqual(versions);
  for (const [userId, version] of Object.entries(versions)) {
    expect((await config(userId)).ruleSet.version).toBe(version);
  }
  // Written again, but not in force yet.
  await write([HOT], 'v');
  expect((await locked('v')).get('v')).toBe(2);
  expect(summary((await config('v')).ruleSet)).toEqual([2]);
  await review();
  expect((await locked('v')).get('v')).toBe(3);
});

test('a lock waits for a deletion under way and sees its version', async () => {
  await change({ rules: [LOW] });
  let versions: Promise<Map<string, number>> = Promise.resolve(new Map());
  await db.sql.begin(async (tx) => {
    await tx`DELETE FROM user_configs WHERE user_id = 'u'`;
    versions = locked('u');
    for (let n = 0; n === 0; await Bun.sleep(5)) {
      const [row] = await db.sql`SELECT count(*)::int AS n FROM pg_locks WHERE NOT granted`;
      n = row?.n;
    }
  });
  expect(await versions).toEqual(new Map([['u', 2]]));
});

test('rules by SQL that grow too large with their ids are refused', async () => {
  const rules = Array.from({ length: 200 }, (_, index) => ({
    ...{ key: `some.long.name.of.a.measured.value.${index}`, operator: '<', threshold: 20 },
    message: 'm'.repeat(180),
  }));
  expect(parseConfig({ rules }, model).ok).toBe(true);
  await write(rules);
  await review();
  const { ruleSet, issues } = await config();
  expect(ruleSet.rules).toEqual([]);
  expect(issues).toEqual([
    { path: 'rules', message: expect.stringMatching(/take \d+ bytes as JSON; at most 65536/) },
  ]);
}, 20_000);

test('rules added one by one stop at the bound; what is in force stays', async () => {
  const grow = (index: number) =>
    changeRules(db.sql, {
      userId: 'u',
      change: (current) => {
        const rule = { ...LOW, id: `r${index}`, key: `k${index}`, message: 'm'.repeat(1_000) };
        const full = { ...rule, severity: 'INFO', enabled: true } as const;
        return { ...current, rules: [...current.rules, { ...full, operator: '<' }] };
      },
      actor: 'graphql:operator',
      model,
    });
  let fitting = 0;
  let result = await grow(0);
  while (result.kind === 'ok' && fitting < 100) result = await grow(++fitting);
  expect(fitting).toBeGreaterThan(50);
  expect(result).toEqual({
    kind: 'invalid',
    issues: [{ path: 'rules', message: expect.stringContaining('at most 65536') }],
  });
  expect((await config()).ruleSet.rules).toHaveLength(fitting);
}, 20_000);

test('the snoozes of a rule go when it is deleted, whatever way', async () => {
  const hot = { id: 'hot', ...HOT };
  const low = { id: 'low', ...LOW };
  const all = { temperature_max: 80, rules: [hot, low] };
  const snoozeAll = () => db.sql`
    INSERT INTO snoozes (user_id, device_id, rule_id, until, actor)
    SELECT user_id, 'd', rule_id, now() + interval '1 year', 'ann'
    FROM unnest('{u,other}'::text[]) user_id, unnest('{hot,low,temperature-max}'::text[]) rule_id
    ON CONFLICT DO NOTHING`;
  const left = async (userId = 'u') => {
    const rows = await db.sql`SELECT rule_id FROM snoozes WHERE user_id = ${userId} ORDER BY 1`;
    return rows.map((row) => row.rule_id).join(' ');
  };
  await change(all);
  await snoozeAll();
  await change({ rules: [{ ...hot, threshold: 90, enabled: false }, low] });
  expect(await left()).toBe('hot low temperature-max');
  await change({ rules: [low] });
  expect(await left()).toBe('low temperature-max');
  await change({ temperature_max: null });
  expect(await left()).toBe('low');
  await change(all);
  await snoozeAll();
  await write([hot]);
  await review();
  expect(await left()).toBe('hot temperature-max');
  await db.sql`DELETE FROM user_configs`;
  await change(all);
  expect(await left()).toBe('');
  expect(await left('other')).toBe('hot low temperature-max');
});
