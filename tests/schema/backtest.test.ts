import { afterAll, beforeAll, expect, test } from 'bun:test';
import { graphql } from 'graphql';
import { formatMicros } from '../../src/domain/time.ts';
import { model } from '../../src/model.ts';
import { createContext } from '../../src/schema/context.ts';
import { createSchema } from '../../src/schema/index.ts';
import { type Stage, seedAlert, seedDevices, seedReadings, stage } from './support.ts';

const MINUTE = 60_000_000;
const T0 = Date.UTC(2026, 0, 10) * 1_000;
const at = (minute: number) => formatMicros(T0 + minute * MINUTE);
let on: Stage;

beforeAll(async () => {
  on = await stage();
  const devices = ['pump_1', 'pump_2', 'fan_1', 'idle'];
  await seedDevices(
    on.sql,
    devices.map((deviceId) => ({ deviceId })),
  );
  await seedDevices(on.sql, [{ userId: 'user_2', deviceId: 'pump_1' }]);
  // A reading each minute over two days; hot for 10 minutes of every 60, from the tenth on.
  for (const deviceId of ['pump_1', 'pump_2', 'fan_1']) {
    await seedReadings(
      on.sql,
      Array.from({ length: 2_880 }, (_, n) => ({
        time: T0 + n * MINUTE,
        deviceId,
        battery: (n % 2) * 100,
        temperature: n % 60 >= 10 && n % 60 < 20 ? 90 : 70,
        extra: `{"engine": {"rpm": ${n % 100}}}`,
      })),
    );
  }
  await seedReadings(on.sql, [{ time: T0, userId: 'user_2', deviceId: 'pump_1', temperature: 99 }]);
}, 60_000);

afterAll(() => on.close());

const FIELDS = `readings devices episodeCount firing firingAtEnd liveEpisodes notes
  days { day count firing } episodes { deviceId startedAt holdingSince resolvedAt lastSeenAt
  duration value message }`;

async function backtest(rule: object, more: object = {}) {
  const variables = { rule: { message: 'm', ...rule }, from: at(0), to: at(2_880), ...more };
  const { data, errors } = await on.query(
    `query ($rule: RuleInput!, $from: DateTime!, $to: DateTime!, $deviceIds: [ID!],
        $timezone: TimeZone = "UTC", $user: ID = "user_1") {
      user(id: $user) { backtest(rule: $rule, from: $from, to: $to, deviceIds: $deviceIds,
        timezone: $timezone) { ${FIELDS} } } }`,
    variables,
  );
  return { result: data?.user?.backtest, errors };
}

const HOT = { key: 'temperature', operator: 'GT', threshold: 80, message: '{value} {device_id}' };

test('tells each episode, how often on each day and how long in all', async () => {
  const { result, errors } = await backtest(HOT, { deviceIds: ['pump_1'] });
  expect(errors).toBeUndefined();
  expect(result).toMatchObject({
    readings: 2_880,
    devices: 1,
    episodeCount: 48,
    firing: 'PT8H',
    firingAtEnd: 0,
    liveEpisodes: null,
    days: [
      { day: '2026-01-10', count: 24, firing: 'PT4H' },
      { day: '2026-01-11', count: 24, firing: 'PT4H' },
    ],
  });
  expect(result.episodes).toHaveLength(48);
  expect(result.episodes[1]).toEqual({
    deviceId: 'pump_1',
    startedAt: at(70),
    holdingSince: at(70),
    resolvedAt: at(80),
    lastSeenAt: at(79),
    duration: 'PT10M',
    value: 90,
    message: '90 pump_1',
  });
  expect(result.notes[0]).toContain('Where data came late, live evaluation differed');
});

test('holds, hysteresis, a path into the payload, a glob, and the calendar of a zone', async () => {
  const held = await backtest({ ...HOT, for: 'PT5M', clear: { for: 'PT5M' } });
  expect(held.result).toMatchObject({ devices: 4, readings: 8_640, episodeCount: 144 });
  expect(held.result.episodes[0]).toMatchObject({
    ...{ deviceId: 'fan_1', holdingSince: at(10), startedAt: at(15), resolvedAt: at(25) },
  });
  const rpm = { key: 'engine.rpm', operator: 'EQ', threshold: 7, devices: 'pump_?' };
  const path = await backtest(rpm, { to: at(1_000), timezone: 'Asia/Tokyo' });
  expect(path.result).toMatchObject({
    devices: 2,
    episodeCount: 20,
    days: [
      { day: '2026-01-10', count: 18 },
      { day: '2026-01-11', count: 2 },
    ],
  });
  expect(path.result.notes.at(-1)).toBe('2 devices are left out: "pump_?" does not match them.');
});

test('the range bounds what is looked at, and what is open at its end stays open', async () => {
  const { result } = await backtest(HOT, {
    from: at(12),
    to: at(75),
    deviceIds: ['pump_1', 'nobody'],
  });
  expect(result).toMatchObject({ readings: 63, devices: 1, episodeCount: 2, firingAtEnd: 1 });
  expect(result.notes.at(-1)).toBe('deviceIds.1: there is no such device.');
  expect(result).toMatchObject({ firing: 'PT13M', days: [{ count: 2, firing: 'PT13M' }] });
  expect(result.episodes).toMatchObject([
    { startedAt: at(12), resolvedAt: at(20) },
    { startedAt: at(70), resolvedAt: null, duration: null, lastSeenAt: at(74) },
  ]);
});

test('silence is judged by gaps, also of a device that was heard of before the range', async () => {
  const quiet = { kind: 'NO_DATA', noData: 'PT10M' };
  const { result } = await backtest(quiet, { from: at(2_000), to: at(3_000) });
  expect(result).toMatchObject({ devices: 4, readings: 2_640, episodeCount: 3, firingAtEnd: 3 });
  expect(result.episodes[0]).toMatchObject({
    ...{ deviceId: 'fan_1', holdingSince: at(2_879), startedAt: at(2_889), value: null },
  });
  expect(result.notes[0]).toContain('Arrival times are not stored');
  const after = await backtest(quiet, { from: at(5_000), to: at(6_000) });
  expect(after.result).toMatchObject({ readings: 0, episodeCount: 3 });
  expect(after.result.episodes[0]).toMatchObject({ holdingSince: at(5_000) });
});

test('what the rule in force has raised stands beside what this one would have', async () => {
  const rule = '{ ruleId: "hot", key: "temperature", operator: GT, threshold: 85, message: "m" }';
  await on.query(`mutation { setRules(userId: "user_1", rules: [${rule}]) { version } }`);
  for (const [id, minute, deviceId] of [
    ['l1', 5, 'pump_1'],
    ['l2', 6, 'pump_2'],
    ['l3', 5_000, 'pump_1'],
  ] as const) {
    const startedAt = T0 + minute * MINUTE;
    await seedAlert(on.sql, { id, deviceId, ruleId: 'hot', startedAt });
  }
  const both = await backtest({ ...HOT, ruleId: 'hot' });
  expect(both.result).toMatchObject({ episodeCount: 144, liveEpisodes: 2 });
  const one = await backtest({ ...HOT, ruleId: 'hot' }, { deviceIds: ['pump_2'] });
  expect(one.result.liveEpisodes).toBe(1);
  expect((await backtest({ ...HOT, ruleId: 'other' })).result.liveEpisodes).toBeNull();
  const shorthand = { ...HOT, ruleId: 'temperature-max' };
  expect((await backtest(shorthand)).result.liveEpisodes).toBeNull();
  await on.query('mutation { setRules(userId: "user_1", temperatureMax: 85) { version } }');
  await seedAlert(on.sql, {
    id: 'l4',
    deviceId: 'pump_1',
    ruleId: 'temperature-max',
    startedAt: T0,
  });
  const { result } = await backtest(shorthand);
  expect(result).toMatchObject({ episodeCount: 144, liveEpisodes: 1 });
});

test('of many episodes a thousand are listed, and all are counted', async () => {
  const { result } = await backtest({ key: 'battery', operator: 'LT', threshold: 50 });
  expect(result).toMatchObject({ episodeCount: 4_320, firing: 'PT72H' });
  expect(result.episodes).toHaveLength(1_000);
  expect(result.days).toMatchObject([{ count: 2_160 }, { count: 2_160 }]);
});

test('faults of the rule are told at its arguments, and nothing of another user is read', async () => {
  const wrong = await backtest({ key: 'temperature', operator: 'GT', threshold: 'x', for: 'P1M' });
  expect(wrong.errors?.[0]?.extensions).toMatchObject({
    code: 'BAD_USER_INPUT',
    issues: [{ path: 'rule.threshold' }, { path: 'rule.threshold' }, { path: 'rule.for' }],
  });
  const range = await backtest(HOT, { from: at(5), to: at(5) });
  expect(range.errors?.[0]?.extensions.issues).toMatchObject([{ path: 'to' }]);
  const other = await backtest(HOT, { user: 'user_2', deviceIds: ['pump_1', 'pump_2'] });
  expect(other.result).toMatchObject({ devices: 1, readings: 1, episodeCount: 1 });
});

test('more readings than one request may take are refused, with what to do', async () => {
  await on.sql`INSERT INTO raw_telemetry (time, user_id, device_id, sequence_id)
    SELECT '2026-01-20T00:00:00Z'::timestamptz + n * interval '1 ms', 'user_1', 'idle', n
    FROM generate_series(0, 1000000) n`;
  const { errors } = await backtest(HOT, { to: at(20_000), deviceIds: ['idle'] });
  expect(errors?.[0]?.extensions.code).toBe('TOO_EXPENSIVE');
  expect(errors?.[0]?.message).toContain('ask for a shorter range, or name fewer devices');
  // The same, by somebody who does not wait for so long.
  const door = { requestId: 'r', expiresAtMs: null, streams: null, timeoutMs: 100, push: null };
  const contextValue = createContext(on.deps, { kind: 'operator' }, door);
  const source = `{ user(id: "user_1") { backtest(from: "${at(0)}", to: "${at(20_000)}",
    rule: { key: "temperature", operator: GT, threshold: 80, message: "m" }) { readings } } }`;
  const late = await graphql({ schema: createSchema(model), source, contextValue });
  expect(late.errors?.[0]?.extensions.code).toBe('TOO_EXPENSIVE');
  expect(late.errors?.[0]?.message).toContain('not done within the 0.1 s of a request');
}, 120_000);
