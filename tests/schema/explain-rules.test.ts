import { afterAll, beforeAll, expect, test } from 'bun:test';
import { formatMicros } from '../../src/domain/time.ts';
import { microsAt, type RunningEngine } from '../engine/engine-stage.ts';
import { eventually } from '../support/process.ts';
import { type LogStage, logStage } from './log-stage.ts';

const TIMEOUT_MS = 60_000;
const RULES = `[
  { ruleId: "held", key: "temperature", operator: GT, threshold: 70, message: "m", for: "PT1M" },
  { ruleId: "off", key: "temperature", operator: GT, threshold: 0, message: "m", enabled: false },
  { ruleId: "fans", key: "temperature", operator: GT, threshold: 0, message: "m", devices: "fan*" },
  { ruleId: "rpm", key: "engine.rpm", operator: LT, threshold: 5, message: "m" },
  { ruleId: "quiet", kind: NO_DATA, noData: "PT10M", message: "m" }]`;
const FIELDS = `status reason since value lateReadings snoozedUntil rule { ruleId threshold }
  reading { time sequenceId temperature } alert { id status ruleId }`;
const at = (seconds: number) => formatMicros(microsAt(seconds));

let stage: LogStage;
let running: RunningEngine;

beforeAll(async () => {
  stage = await logStage();
  running = await stage.engines.start();
  const set = `setRules(userId: "ann", temperatureMax: 80, rules: ${RULES}) { version }`;
  expect((await stage.on.query(`mutation { ${set} }`)).errors).toBeUndefined();
  await running.rules.refresh();
  const fleet = Array.from({ length: 20 }, (_, n) => ({
    ...{ device: `pump_${n}`, at: 1, seq: 1, temperature: 20 },
  }));
  await stage.engines.send(...fleet);
  await stage.engines.send(
    ...[10, 40].map((time) => ({ device: 'd1', at: time, seq: time, temperature: 90 })),
    ...[300, 10, 11].map((time) => ({ device: 'd2', at: time, seq: time, temperature: 60 })),
  );
  await stage.engines.stored();
}, TIMEOUT_MS);

afterAll(() => stage.close());

async function explainAll(deviceId: string, user = 'ann') {
  const { data, errors } = await stage.on.query(
    `query ($id: ID!, $user: ID!) { user(id: $user) { device(deviceId: $id) {
       explainRules { ${FIELDS} } } } }`,
    { id: deviceId, user },
  );
  expect(errors).toBeUndefined();
  const list = data.user.device.explainRules as { rule: { ruleId: string } }[];
  return Object.fromEntries(list.map((one) => [one.rule.ruleId, one]));
}

test('every rule says how it stands, by what reading, and why', async () => {
  const found = await explainAll('d1');
  expect(Object.keys(found)).toEqual(['held', 'off', 'fans', 'rpm', 'quiet', 'temperature-max']);
  expect(found['temperature-max']).toMatchObject({
    status: 'FIRING',
    since: at(10),
    value: 90,
    reason: `it fired at ${at(10)}, and temperature 90 is > 80`,
    reading: { time: at(40), sequenceId: 40, temperature: 90 },
    alert: { status: 'FIRING', ruleId: 'temperature-max' },
    snoozedUntil: null,
  });
  expect(found.held).toMatchObject({
    status: 'PENDING',
    since: at(10),
    value: 90,
    reason: `temperature 90 is > 70, since ${at(10)} for PT30S; it fires after PT1M`,
    alert: null,
  });
  expect(found.off).toMatchObject({ status: 'DISABLED', reading: null });
  expect(found.fans).toMatchObject({ status: 'NOT_COVERED' });
  expect(found.rpm).toMatchObject({ status: 'NO_DATA', value: null, since: null });
  expect(found.quiet).toMatchObject({ status: 'OK', reading: null });
  expect((found.quiet as unknown as { reason: string }).reason).toMatch(
    /^silent since .* by the clock of the log; it fires after PT10M$/,
  );
});

test('a device whose clock went back is told, and resetDeviceClock releases it', async () => {
  const late = await explainAll('d2');
  expect(late['temperature-max']).toMatchObject({
    ...{ status: 'LATE', lateReadings: 2, value: 60, reading: { time: at(300) } },
  });
  expect((late['temperature-max'] as unknown as { reason: string }).reason).toContain(
    'resetDeviceClock releases it',
  );
  const reset = 'resetDeviceClock(userId: "ann", deviceId: "d2") { deviceId explainRules {';
  const done = await stage.on.query(`mutation { ${reset} status rule { ruleId } } } }`);
  expect(done.data.resetDeviceClock).toMatchObject({
    deviceId: 'd2',
    explainRules: [{ status: 'NO_DATA' }, {}, {}, {}, { status: 'OK' }, { status: 'NO_DATA' }],
  });
  await stage.engines.send({ device: 'd2', at: 12, seq: 12, temperature: 95 });
  await stage.engines.stored();
  const after = await explainAll('d2');
  expect(after['temperature-max']).toMatchObject({ status: 'FIRING', since: at(12) });
});

test('resetting the clock of a device is for those who may see it', async () => {
  const reset = (userId: string, deviceId: string) =>
    `mutation { resetDeviceClock(userId: "${userId}", deviceId: "${deviceId}") { id } }`;
  const bob = { kind: 'user', userId: 'bob' } as const;
  const codes = [
    await stage.as({ kind: 'operator' }, reset('ann', 'nobody')),
    await stage.as(bob, reset('ann', 'd1')),
    await stage.as(bob, reset('bob', 'd1')),
  ].map(({ errors }) => errors?.[0]?.extensions.code);
  expect(codes).toEqual(['NOT_FOUND', 'NOT_FOUND', 'NOT_FOUND']);
});

test('what was edited stands as the next reading will find it, and what is snoozed says so', async () => {
  const edit = `upsertRule(userId: "ann", rule: { ruleId: "rpm", key: "temperature", operator: LT,
    threshold: 50, message: "m" })`;
  await stage.on.query(`mutation { ${edit} { version } }`);
  await stage.on.sql`INSERT INTO snoozes (user_id, device_id, rule_id, until, actor)
    VALUES ('ann', 'd1', 'temperature-max', '2099-01-01T00:00:00Z', 'ann'),
           ('ann', 'd1', 'held', '2020-01-01T00:00:00Z', 'ann')`;
  const found = await explainAll('d1');
  expect(found.rpm).toMatchObject({ status: 'NO_DATA' });
  expect(found['temperature-max']).toMatchObject({
    snoozedUntil: '2099-01-01T00:00:00.000Z',
    reason: expect.stringContaining('; snoozed until 2099-01-01T00:00:00.000Z'),
  });
  expect(found.held).toMatchObject({ snoozedUntil: null });
});

test('a reading that is past its retention is null; what it decided stands', async () => {
  await stage.on.sql`DELETE FROM raw_telemetry WHERE device_id = 'd1'`;
  const found = await explainAll('d1');
  expect(found['temperature-max']).toMatchObject({ status: 'FIRING', value: 90, reading: null });
});

test('all rules of many devices take one statement for each kind', async () => {
  const before = stage.on.statements().length;
  const { data, errors } = await stage.on.query(`{ user(id: "ann") { devices(search: "pump") {
    nodes { explainRules { ${FIELDS} } one: explainRules(ruleId: "held") { status } } } } }`);
  expect(errors).toBeUndefined();
  const { nodes } = data.user.devices;
  expect(nodes).toHaveLength(20);
  for (const { explainRules, one } of nodes) {
    expect(explainRules).toHaveLength(6);
    expect(one).toEqual([{ status: 'OK' }]);
  }
  const sent = stage.on.statements().slice(before);
  const count = (part: string) => sent.filter((text) => text.includes(part)).length;
  expect(count('raw_telemetry')).toBe(1);
  expect(count('json_to_recordset')).toBe(1);
  expect(count('snoozes')).toBe(1);
  expect(count('watermarks')).toBe(1);
  // The user, the page of devices and the rules besides.
  expect(sent).toHaveLength(7);
});

test(
  'silence that fires is told by the arrival of the last message',
  async () => {
    await running.stop();
    await stage.on.sql`
      UPDATE device_state SET last_arrival_at = last_arrival_at - interval '1 hour'
      WHERE device_id = 'pump_1'`;
    // As of a log that has run for long.
    await stage.on.sql`UPDATE watermarks SET flowing_since = 'epoch'`;
    running = await stage.engines.start();
    await stage.engines.send({ device: 'd9', at: 13, seq: 13 });
    const quiet = async () => {
      const found = await explainAll('pump_1');
      return (found.quiet as unknown as { status: string; reason: string }) ?? null;
    };
    await eventually('it fires', async () => (await quiet()).status === 'FIRING', 20_000);
    expect((await quiet()).reason).toContain('nothing has arrived since');
  },
  TIMEOUT_MS,
);
