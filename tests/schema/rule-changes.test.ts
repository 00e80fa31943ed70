import { afterAll, beforeAll, expect, test } from 'bun:test';
import { model } from '../../src/model.ts';
import { migrate } from '../../src/store/migrate.ts';
import { pruneRuleChanges } from '../../src/store/prune-rule-changes.ts';
import { reviewRules } from '../../src/store/review-rules.ts';
import { ruleChangesPages } from '../../src/store/rule-changes-page.ts';
import { testDatabase } from '../support/postgres.ts';
import { type Stage, stage } from './support.ts';

let on: Stage;
beforeAll(async () => {
  on = await stage();
}, 30_000);
afterAll(() => on.close());

const LOW = { key: 'battery', operator: '<', threshold: 20, message: 'low' };

async function changes(user: string, args = '') {
  const { data, errors } = await on.query(`{ user(id: "${user}") { ruleChanges${args} {
    pageInfo { hasNextPage endCursor }
    nodes { version kind actor changedAt temperatureMax rules disabled issues { path message } } } } }`);
  expect(errors).toBeUndefined();
  return data.user.ruleChanges;
}

const write = (user: string, rules: unknown, temperatureMax: number | null = null) =>
  on.sql`INSERT INTO user_configs (user_id, rules, temperature_max)
    VALUES (${user}, ${on.sql.json(rules as never)}, ${temperatureMax})
    ON CONFLICT (user_id) DO UPDATE
    SET rules = excluded.rules, temperature_max = excluded.temperature_max`;
const review = () => reviewRules(on.sql, { model });

test('every version has one entry: accepted, refused with its faults, not looked at, deleted', async () => {
  const rule = '{ key: "battery", operator: LT, threshold: 20, message: "low", enabled: false }';
  await on.query(
    `mutation { setRules(userId: "ann", temperatureMax: 80, rules: [${rule}]) { version } }`,
  );
  await write('ann', [{ ...LOW, operator: '~' }]);
  await review();
  await write('ann', [LOW], 70);
  await write('ann', [LOW, { ...LOW, key: 'x' }], 70);
  await review();
  await on.sql`DELETE FROM user_configs WHERE user_id = 'ann'`;
  await write('ann', [], 60);
  const { nodes } = await changes('ann');
  const brief = nodes.map((node: Record<string, unknown>) => [
    node.version,
    node.kind,
    node.actor,
    node.temperatureMax,
    (node.rules as { id?: string }[] | null)?.map(({ id }) => id) ?? null,
  ]);
  expect(brief).toEqual([
    [6, 'WRITTEN', 'sql', 60, []],
    [5, 'DELETED', 'sql', null, null],
    [4, 'ACCEPTED', 'sql', 70, ['battery-lt', 'x-lt']],
    [3, 'WRITTEN', 'sql', 70, [undefined]],
    [2, 'REFUSED', 'sql', null, [undefined]],
    [1, 'ACCEPTED', 'operator', 80, ['battery-lt']],
  ]);
  expect(nodes[4].issues).toMatchObject([{ path: 'rules.0.operator' }]);
  expect(nodes[5].rules).toEqual([
    { id: 'battery-lt', ...LOW, severity: 'WARNING', enabled: false },
  ]);
  expect(nodes[5].disabled).toEqual({});
  expect(nodes.every(({ changedAt }: { changedAt: string }) => changedAt > '2026')).toBe(true);
});

test('a page goes on where the one before ended, also while versions are added', async () => {
  for (let n = 0; n < 5; n++) await write('bob', [{ ...LOW, threshold: n }]);
  const first = await changes('bob', '(first: 2)');
  await write('bob', []);
  const second = await changes('bob', `(first: 2, after: "${first.pageInfo.endCursor}")`);
  const third = await changes('bob', `(first: 2, after: "${second.pageInfo.endCursor}")`);
  const versions = [first, second, third].map(({ nodes }) =>
    nodes.map(({ version }: { version: number }) => version),
  );
  expect(versions).toEqual([[5, 4], [3, 2], [1]]);
  expect(third.pageInfo.hasNextPage).toBe(false);
  const { errors } = await on.query(
    '{ user(id: "bob") { ruleChanges(first: 101) { nodes { version } } } }',
  );
  expect(errors?.[0]?.extensions.issues).toMatchObject([{ path: 'first' }]);
});

test('what SQL wrote too large, too deep or as NaN harms nothing', async () => {
  const deep = `${'['.repeat(2_000)}${']'.repeat(2_000)}`;
  await on.sql`INSERT INTO user_configs (user_id, rules) VALUES ('eve', ${deep}::text::jsonb)`;
  await on.sql`UPDATE user_configs SET rules = to_jsonb(array_fill('x'::text, ARRAY[100000]))
    WHERE user_id = 'eve'`;
  await on.sql`UPDATE user_configs SET rules = '[]', temperature_max = 'NaN' WHERE user_id = 'eve'`;
  await review();
  const { nodes } = await changes('eve');
  expect(nodes).toMatchObject([
    { version: 3, kind: 'REFUSED', temperatureMax: null, rules: [] },
    { version: 2, kind: 'WRITTEN', rules: null },
    { version: 1, kind: 'WRITTEN', rules: null },
  ]);
});

test('what is past its retention is gone; the newest version stays', async () => {
  for (let n = 0; n < 3; n++) {
    await write('dan', [{ ...LOW, threshold: n }]);
    await review();
  }
  await on.sql`UPDATE rule_changes SET changed_at = '2020-01-01T00:00:00Z' WHERE user_id = 'dan'`;
  await on.sql`INSERT INTO publisher_positions (stream, seq) VALUES ('configs', 1000000)`;
  await pruneRuleChanges(on.sql, { before: Date.now() * 1_000 });
  const { nodes } = await changes('dan');
  expect(nodes).toMatchObject([{ version: 3, kind: 'ACCEPTED' }]);
});

test('a database of before it said why says so of the newest refusal', async () => {
  const database = await testDatabase({ empty: true });
  try {
    const { sql } = database;
    await migrate(sql, model, { upTo: 14 });
    const put = (rules: string) => sql`INSERT INTO user_configs (user_id, rules)
      VALUES ('old', ${rules}::text::jsonb) ON CONFLICT (user_id) DO UPDATE SET rules = excluded.rules`;
    for (const rules of ['[]', '[{}]', '[3]']) {
      await put(rules);
      await reviewRules(sql, { model });
    }
    await migrate(sql, model);
    await put('{}');
    await reviewRules(sql, { model });
    const found = await ruleChangesPages(sql, ['old'], { before: null, limit: 10 });
    expect(found.map(({ version, issues }) => [version, issues?.map(({ path }) => path)])).toEqual([
      [4, ['rules']],
      [3, ['rules.0']],
      [2, []],
      [1, []],
    ]);
  } finally {
    await database.drop();
  }
}, 30_000);
