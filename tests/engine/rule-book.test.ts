import { afterEach, beforeEach, expect, test } from 'bun:test';
import pino from 'pino';
import type { RuleSet } from '../../src/domain/rule.ts';
import { createRuleBook, type RuleBook } from '../../src/engine/rule-book.ts';
import { model } from '../../src/model.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const LOW = { key: 'battery', operator: '<', threshold: 20, message: 'Low' };
const logger = pino({ level: 'silent' });

let db: TestDatabase;
let sql: Sql;
let book: RuleBook;
beforeEach(async () => {
  db = await testDatabase();
  sql = connect(db.url, { max: 2, applicationName: 'rule-book' });
  book = createRuleBook({ sql, model, logger, maxUsers: 3 });
  await book.start();
}, 30_000);
afterEach(async () => {
  await book.close();
  await sql.end({ timeout: 1 });
  await db.drop();
});

const write = (userId: string, rules: object[]) =>
  db.sql`INSERT INTO user_configs (user_id, rules) VALUES (${userId}, ${db.sql.json(rules as never)})
         ON CONFLICT (user_id) DO UPDATE SET rules = EXCLUDED.rules`;
async function ruleSet(userId: string): Promise<RuleSet> {
  return (await book.rulesFor([userId])).get(userId) as RuleSet;
}
/** The next rule set of a user that satisfies the condition. */
function next(userId: string, version: number): Promise<RuleSet> {
  return new Promise((resolve) => {
    const remove = book.onChange((set) => {
      if (set.userId !== userId || set.version < version) return;
      remove();
      resolve(set);
    });
  });
}

test('a user without a config has no rules, version 0; once known, the answer is at once', async () => {
  expect(await ruleSet('u')).toMatchObject({ version: 0, thresholds: [] });
  expect(book.rulesFor(['u'])).toBeInstanceOf(Map);
});

test('an SQL statement is in force within a second, and so is a deletion', async () => {
  await ruleSet('u');
  for (const [statement, version, ruleIds] of [
    [() => write('u', [LOW]), 1, ['battery-lt']],
    [() => write('u', [LOW, { ...LOW, operator: '>' }]), 2, ['battery-lt', 'battery-gt']],
    [() => db.sql`DELETE FROM user_configs`, 3, []],
    [() => write('u', [LOW]), 4, ['battery-lt']],
  ] as const) {
    const changed = next('u', version);
    const sinceMs = performance.now();
    await statement();
    await changed;
    expect(performance.now() - sinceMs).toBeLessThan(1_000);
    const now = book.rulesFor(['u']) as Map<string, RuleSet>;
    expect(now.get('u')?.version).toBe(version);
    expect(now.get('u')?.thresholds.map(({ rule }) => rule.id)).toEqual([...ruleIds]);
  }
});

test('after a refresh every change committed before is known', async () => {
  for (let version = 1; version <= 20; version++) {
    await ruleSet('u');
    await write('u', [{ ...LOW, threshold: version }]);
    await book.refresh();
    expect(await ruleSet('u')).toMatchObject({ version, rules: [{ threshold: version }] });
  }
});

test('invalid rules by SQL leave the last valid ones in force', async () => {
  await write('u', [LOW]);
  await book.refresh();
  await db.sql`UPDATE user_configs SET rules = '[{"key": 7}]', temperature_max = 'Infinity'`;
  await write('v', [LOW]);
  await book.refresh();
  expect(await ruleSet('u')).toMatchObject({
    version: 1,
    thresholds: [{ rule: { id: 'battery-lt' } }],
  });
  expect(await ruleSet('v')).toMatchObject({ version: 1 });
});

test('listeners also hear of users who are not in memory', async () => {
  const changed = next('stranger', 1);
  await write('stranger', [LOW]);
  expect((await changed).thresholds.length).toBe(1);
});

test('more users than fit are all answered, and never from an older version', async () => {
  const users = Array.from({ length: 10 }, (_, n) => `u${n}`);
  for (const userId of users) await write(userId, [LOW]);
  await book.refresh();
  const sets = await book.rulesFor(users);
  expect([...sets.values()].map((set) => set.version)).toEqual(users.map(() => 1));
  for (const userId of users) await write(userId, []);
  await book.refresh();
  for (const userId of users) expect((await ruleSet(userId)).version).toBe(2);
});

test('a load whose answer is older than a change that was applied meanwhile is done again', async () => {
  const read = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  let held = false;
  // The real connection; only the first answer about users' rules is held back on its way.
  const slow = new Proxy(sql, {
    apply(target, self, args: [TemplateStringsArray, ...unknown[]]) {
      const query = Reflect.apply(target, self, args);
      if (held || !args[0].join('').includes('asked')) return query;
      held = true;
      return query.then(async (rows: unknown) => {
        read.resolve();
        await answer.promise;
        return rows;
      });
    },
  });
  await write('u', [LOW]);
  const other = createRuleBook({ sql: slow, model, logger, pollIntervalMs: 60_000 });
  await other.start();
  const load = other.rulesFor(['u']);
  await read.promise;
  await write('u', []);
  await other.refresh();
  answer.resolve();
  expect((await load).get('u')).toMatchObject({ version: 2, thresholds: [] });
  expect((await other.rulesFor(['u'])).get('u')?.version).toBe(2);
  await other.close();
});

test('what is known stays in force while the database is away, and is caught up with after', async () => {
  await write('u', [LOW]);
  await book.refresh();
  await ruleSet('u');
  const [row] = await db.sql<{ name: string }[]>`SELECT current_database() AS name`;
  const admin = connect(db.url.replace(/[^/]*$/, 'postgres'), { max: 1 });
  await admin.unsafe(`ALTER DATABASE ${row?.name} ALLOW_CONNECTIONS false`);
  await db.sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'rule-book' AND datname = current_database()`;
  await book.refresh();
  expect(await ruleSet('u')).toMatchObject({ version: 1 });
  expect(Promise.resolve(book.rulesFor(['other']))).rejects.toThrow();
  const changed = next('u', 2);
  await write('u', []);
  await admin.unsafe(`ALTER DATABASE ${row?.name} ALLOW_CONNECTIONS true`);
  await admin.end();
  expect(await changed).toMatchObject({ version: 2 });
}, 20_000);
