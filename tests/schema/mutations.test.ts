import { afterAll, beforeAll, expect, test } from 'bun:test';
import { type Stage, stage } from './support.ts';

let on: Stage;
let pokes = 0;

beforeAll(async () => {
  on = await stage({
    rules: {
      poke: () => {
        pokes++;
      },
    },
  });
}, 30_000);

afterAll(() => on.close());

const RULE = '{ key: "battery", operator: LT, threshold: 20, message: "low" }';
const FIELDS = `userId version temperatureMax updatedBy issues { path }
  rules { id ruleId kind key operator threshold message severity enabled }`;

test('a user without rules has version 0 and none', async () => {
  await on.sql`INSERT INTO device_state (user_id, device_id, partition, version, first_seen_at,
    last_arrival_at, rules) VALUES ('new', 'd', 0, 1, now(), now(), '{}')`;
  const { data, errors } = await on.query(
    `{ user(id: "new") { ruleSet { ${FIELDS} updatedAt } } }`,
  );
  expect(errors).toBeUndefined();
  expect(data.user.ruleSet).toMatchObject({ userId: 'new', version: 0, rules: [], updatedBy: '' });
});

test('setRules sets, leaves what is absent, and removes what is null', async () => {
  const first = await on.query(
    `mutation { setRules(userId: "u1", temperatureMax: 80, rules: [${RULE}]) { ${FIELDS} } }`,
  );
  expect(first.errors).toBeUndefined();
  expect(first.data.setRules).toMatchObject({
    userId: 'u1',
    version: 1,
    temperatureMax: 80,
    updatedBy: 'operator',
    issues: [],
    rules: [
      {
        ruleId: 'battery-lt',
        kind: 'THRESHOLD',
        key: 'battery',
        operator: 'LT',
        threshold: 20,
        message: 'low',
        severity: 'WARNING',
        enabled: true,
      },
    ],
  });
  expect(pokes).toBe(1);
  const kept = await on.query(
    `mutation { setRules(userId: "u1", temperatureMax: null) { version temperatureMax rules { ruleId } } }`,
  );
  expect(kept.data.setRules).toEqual({
    version: 2,
    temperatureMax: null,
    rules: [{ ruleId: 'battery-lt' }],
  });
  const same = await on.query(`mutation { setRules(userId: "u1", rules: [${RULE}]) { version } }`);
  expect(same.data.setRules.version).toBe(2);
});

test('upsertRule replaces in place or appends, deleteRule deletes', async () => {
  const run = async (mutation: string) =>
    await on.query(`mutation { ${mutation} { rules { ruleId threshold } temperatureMax } }`);
  await run(`setRules(userId: "u2", temperatureMax: 70, rules: [${RULE}])`);
  const rpm = '{ key: "engine.rpm", operator: GT, threshold: 6000, message: "fast" }';
  const appended = await run(`upsertRule(userId: "u2", rule: ${rpm})`);
  expect(appended.data.upsertRule.rules).toEqual([
    { ruleId: 'battery-lt', threshold: 20 },
    { ruleId: 'engine.rpm-gt', threshold: 6000 },
  ]);
  const replaced = await run(
    `upsertRule(userId: "u2", rule: { ruleId: "battery-lt", key: "battery", operator: LTE,
      threshold: 10, message: "lower" })`,
  );
  expect(replaced.data.upsertRule.rules[0]).toEqual({ ruleId: 'battery-lt', threshold: 10 });
  const deleted = await run('deleteRule(userId: "u2", ruleId: "battery-lt")');
  expect(deleted.data.deleteRule.rules).toEqual([{ ruleId: 'engine.rpm-gt', threshold: 6000 }]);
  const shorthand = await run('deleteRule(userId: "u2", ruleId: "temperature-max")');
  expect(shorthand.data.deleteRule.temperatureMax).toBeNull();
  const again = await run('deleteRule(userId: "u2", ruleId: "battery-lt")');
  expect(again.errors?.[0]?.extensions.code).toBe('NOT_FOUND');
});

test('another version is a conflict that names the one in force', async () => {
  await on.query(`mutation { setRules(userId: "u3", rules: [${RULE}]) { version } }`);
  const { errors } = await on.query(
    `mutation { setRules(userId: "u3", rules: [], expectedVersion: 7) { version } }`,
  );
  expect(errors?.[0]?.extensions).toMatchObject({ code: 'CONFLICT', version: 1 });
  expect(errors?.[0]?.message).toContain('version 1 is in force, not 7');
});

test('faults are issues at the arguments they came by, and change nothing', async () => {
  const { errors } = await on.query(`mutation { setRules(userId: "u4", rules: [
    { key: "battery", operator: LT, threshold: "x", message: "m" },
    { ruleId: "not an id", operator: GT, threshold: 1, message: "m" } ]) { version } }`);
  expect(errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
  const issues = errors?.[0]?.extensions.issues as { path: string }[] | undefined;
  const paths = issues?.map(({ path }) => path);
  expect(paths).toContain('rules.0.threshold');
  expect(paths).toContain('rules.1.key');
  expect(paths).toContain('rules.1.ruleId');
  const single = await on.query(
    `mutation { upsertRule(userId: "u4", rule: { operator: GT, threshold: 1, message: "m" }) { version } }`,
  );
  expect(single.errors?.[0]?.extensions.issues).toMatchObject([{ path: 'rule.key' }]);
  const unnamed = await on.query('mutation { setRules(rules: []) { version } }');
  expect(unnamed.errors?.[0]?.extensions).toMatchObject({
    code: 'BAD_USER_INPUT',
    issues: [{ path: 'userId' }],
  });
  const topic = await on.query('mutation { setRules(userId: "a/b", rules: []) { version } }');
  expect(topic.errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
  expect(await on.sql`SELECT FROM user_configs WHERE user_id = 'u4'`).toHaveLength(0);
});

test("an alert's rule is found, also that of a shorthand", async () => {
  await on.query(
    `mutation { setRules(userId: "u5", temperatureMax: 80, rules: [${RULE}]) { version } }`,
  );
  for (const [id, ruleId] of [
    ['x1', 'temperature-max'],
    ['x2', 'battery-lt'],
  ] as const) {
    await on.sql`INSERT INTO alerts (id, user_id, device_id, rule_id, rule_version, status, severity,
        message, started_at, last_seen_at, partition, "offset", sequence_id, event_time, arrival_time)
      VALUES (${id}, 'u5', 'd', ${ruleId}, 1, 'FIRING', 'INFO', 'm', now(), now(), 0, 0, 0, now(), now())`;
  }
  const { data } = await on.query(`{ a: alert(id: "x1") { rule { ruleId threshold } }
    b: alert(id: "x2") { rule { ruleId threshold } } }`);
  expect(data.a.rule).toEqual({ ruleId: 'temperature-max', threshold: 80 });
  expect(data.b.rule).toEqual({ ruleId: 'battery-lt', threshold: 20 });
});
