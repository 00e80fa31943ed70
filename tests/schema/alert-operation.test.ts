import { afterAll, beforeAll, expect, test } from 'bun:test';
import { type ExecutionResult, execute, type GraphQLError, parse } from 'graphql';
import { parseRfc3339 } from '../../src/domain/time.ts';
import { model } from '../../src/model.ts';
import { createContext, type Viewer } from '../../src/schema/context.ts';
import { createSchema } from '../../src/schema/index.ts';
import { type Answer, type Stage, seedAlert, stage, until } from './support.ts';

let on: Stage;
beforeAll(async () => {
  on = await stage();
}, 30_000);
afterAll(() => on.close());

const ANN: Viewer = { kind: 'user', userId: 'ann' };
const BOB: Viewer = { kind: 'user', userId: 'bob' };
const DEVICE: Viewer = { kind: 'device', userId: 'ann', deviceId: 'd' };
const schema = createSchema(model);

async function as(viewer: Viewer, text: string): Promise<Answer> {
  const contextValue = createContext(on.deps, viewer);
  const result = (await execute({
    schema,
    document: parse(text),
    contextValue,
  })) as ExecutionResult;
  const errors = (result.errors ?? []).map(({ message, extensions }: GraphQLError) => ({
    ...{ message, extensions: extensions as Record<string, unknown> },
  }));
  return { data: result.data, ...(errors.length > 0 && { errors }) };
}

const seed = (id: string, deviceId: string, status = 'FIRING') =>
  seedAlert(on.sql, { id, userId: 'ann', deviceId, ruleId: 'hot', status });
const FIELDS = `id acknowledgedAt acknowledgedBy snoozedUntil
  events { type status actor time snoozedUntil muted value }`;
const EVENT = { status: 'FIRING', actor: 'ann', muted: false, value: 81.5 };
const HOUR = 3_600_000_000;

test('an alert is acknowledged once, by whoever was first', async () => {
  await seed('a1', 'd1');
  const sinceMicros = Date.now() * 1_000;
  const first = await as(ANN, `mutation { acknowledgeAlert(id: "a1") { ${FIELDS} } }`);
  expect(first.errors).toBeUndefined();
  const { acknowledgedAt, acknowledgedBy, events } = first.data.acknowledgeAlert;
  expect(acknowledgedBy).toBe('ann');
  expect(parseRfc3339(acknowledgedAt)).toBeGreaterThan(sinceMicros - 2_000);
  expect(events).toEqual([
    { ...EVENT, type: 'ACKNOWLEDGED', time: acknowledgedAt, snoozedUntil: null },
  ]);
  const operator = await on.query(`mutation { acknowledgeAlert(id: "a1") { ${FIELDS} } }`);
  expect(operator.data.acknowledgeAlert).toEqual(first.data.acknowledgeAlert);
});

test('a snooze belongs to the rule on the device, and shows on all its episodes', async () => {
  await seed('old', 'd2', 'RESOLVED');
  await on.sql`UPDATE alerts SET started_at = '2020-01-01Z' WHERE id = 'old'`;
  await seed('new', 'd2');
  await seed('other', 'd3');
  const snoozed = await as(ANN, `mutation { snoozeAlert(id: "old", for: "1h") { ${FIELDS} } }`);
  expect(snoozed.errors).toBeUndefined();
  const { snoozedUntil, events } = snoozed.data.snoozeAlert;
  expect(events).toEqual([]);
  const read = async (id: string) =>
    (await as(ANN, `{ alert(id: "${id}") { ${FIELDS} } }`)).data.alert;
  const firing = await read('new');
  expect(firing.snoozedUntil).toBe(snoozedUntil);
  expect(firing.events).toEqual([
    { ...EVENT, type: 'SNOOZED', time: firing.events[0].time, snoozedUntil },
  ]);
  const [from, to] = [firing.events[0].time, snoozedUntil].map((t) => parseRfc3339(t) as number);
  expect((to as number) - (from as number)).toBe(HOUR);
  expect((await read('other')).snoozedUntil).toBeNull();
  await on.sql`UPDATE snoozes SET until = now()`;
  expect((await read('new')).snoozedUntil).toBeNull();
  await as(ANN, 'mutation { snoozeAlert(id: "new", for: "P1D") { id } }');
  const over = await as(ANN, `mutation { unsnoozeAlert(id: "new") { ${FIELDS} } }`);
  expect(over.data.unsnoozeAlert.snoozedUntil).toBeNull();
  const again = await as(ANN, `mutation { unsnoozeAlert(id: "new") { ${FIELDS} } }`);
  expect(again.data.unsnoozeAlert.events.map((event: { type: string }) => event.type)).toEqual([
    'SNOOZED',
    'SNOOZED',
    'UNSNOOZED',
  ]);
});

test('how long: more than nothing, a year at most', async () => {
  await seed('a4', 'd4');
  for (const length of ['PT0S', '13mo', '400d', 'P10000Y']) {
    const { errors } = await as(ANN, `mutation { snoozeAlert(id: "a4", for: "${length}") { id } }`);
    expect(errors?.[0]?.extensions).toMatchObject({
      code: 'BAD_USER_INPUT',
      issues: [{ path: 'for' }],
    });
  }
  const year = await as(ANN, 'mutation { snoozeAlert(id: "a4", for: "P1Y") { snoozedUntil } }');
  expect(year.data.snoozeAlert.snoozedUntil).toMatch(/^\d{4}-/);
});

test("another user's alert is not there, and a device may do nothing", async () => {
  await seed('a5', 'd');
  await on.query(`mutation { setRules(userId: "ann", rules: [
    { ruleId: "hot", key: "temperature", operator: GT, threshold: 80, message: "hot" }]) { version } }`);
  const mutations = ['a5', 'nobody'].flatMap((id) => [
    `acknowledgeAlert(id: "${id}") { id }`,
    `snoozeAlert(id: "${id}", for: "1h") { id }`,
    `unsnoozeAlert(id: "${id}") { id }`,
  ]);
  const change = 'setRuleEnabled(userId: "ann", ruleId: "hot", enabled: false) { version }';
  for (const viewer of [BOB, DEVICE]) {
    for (const mutation of [...mutations, change]) {
      const { data, errors } = await as(viewer, `mutation { ${mutation} }`);
      expect([mutation, data, errors?.[0]?.extensions.code]).toEqual([mutation, null, 'NOT_FOUND']);
    }
  }
  expect(await on.sql`SELECT FROM alert_events WHERE alert_id = 'a5'`).toHaveLength(0);
  expect(await on.sql`SELECT FROM snoozes WHERE device_id = 'd'`).toHaveLength(0);
});

test('a rule is switched, altogether or on a device, with a version', async () => {
  await as(
    ANN,
    `mutation { setRules(temperatureMax: 80, rules: [{ ruleId: "low", key: "battery", operator: LT,
      threshold: 5, message: "low" }]) { version } }`,
  );
  const [start] = await on.sql`SELECT version FROM user_configs WHERE user_id = 'ann'`;
  const turn = async (args: string) =>
    await as(
      ANN,
      `mutation { setRuleEnabled(${args}) { version updatedBy rules { ruleId enabled disabledDevices } } }`,
    );
  const one = await turn('ruleId: "low", deviceId: "d9", enabled: false');
  expect(one.data.setRuleEnabled).toEqual({
    version: start?.version + 1,
    updatedBy: 'ann',
    rules: [{ ruleId: 'low', enabled: true, disabledDevices: ['d9'] }],
  });
  const all = await turn('ruleId: "low", enabled: false');
  expect(all.data.setRuleEnabled.rules).toEqual([
    { ruleId: 'low', enabled: false, disabledDevices: ['d9'] },
  ]);
  const shorthand = await turn('ruleId: "temperature-max", enabled: false');
  expect(shorthand.data.setRuleEnabled.version).toBe(start?.version + 3);
  const same = await turn('ruleId: "temperature-max", enabled: false');
  expect(same.data.setRuleEnabled.version).toBe(start?.version + 3);
  const conflict = await turn('ruleId: "low", enabled: true, expectedVersion: 1');
  expect(conflict.errors?.[0]?.extensions).toMatchObject({
    code: 'CONFLICT',
    version: start?.version + 3,
  });
  const unknown = await turn('ruleId: "high", enabled: true');
  expect(unknown.errors?.[0]?.extensions.code).toBe('NOT_FOUND');
  const long = await turn(`ruleId: "low", deviceId: "${'x'.repeat(300)}", enabled: false`);
  expect(long.errors?.[0]?.extensions).toMatchObject({
    code: 'BAD_USER_INPUT',
    issues: [{ path: 'deviceId' }],
  });
});

test('followers get operations in order of seq, with what MQTT is not told', async () => {
  await seed('a6', 'd6');
  await on.sql`UPDATE alerts SET muted = true WHERE id = 'a6'`;
  const seen: { seq: number; type: string; muted: boolean }[] = [];
  const leave = on.client().subscribe<{ alertEvents: (typeof seen)[0] }>(
    {
      query:
        'subscription { alertEvents(userId: "ann", after: 0, deviceId: "d6") { seq type muted } }',
    },
    {
      next: ({ data }) => data && seen.push(data.alertEvents),
      error: () => {},
      complete: () => {},
    },
  );
  const run = (mutation: string) => as(ANN, `mutation { ${mutation} { id } }`);
  await run('acknowledgeAlert(id: "a6")');
  await Promise.all([
    ...[1, 2, 3].map((hours) => run(`snoozeAlert(id: "a6", for: "${hours}h")`)),
    run('acknowledgeAlert(id: "a6")'),
  ]);
  await run('unsnoozeAlert(id: "a6")');
  await until(() => seen.length === 5, 20_000);
  leave();
  expect(seen.map(({ type, muted }) => `${type} ${muted}`)).toEqual([
    'ACKNOWLEDGED true',
    ...['SNOOZED true', 'SNOOZED true', 'SNOOZED true'],
    'UNSNOOZED false',
  ]);
  expect(seen.map(({ seq }) => seq)).toEqual(seen.map(({ seq }) => seq).toSorted((a, b) => a - b));
}, 30_000);
