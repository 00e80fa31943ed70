import { afterEach, beforeEach, expect, test } from 'bun:test';
import type { MqttClient } from 'mqtt';
import { parseRfc3339 } from '../../src/domain/time.ts';
import { until } from '../mqtt/helpers.ts';
import {
  type EngineStage,
  engineStage,
  HOT,
  type RunningEngine,
  writeRules,
} from './engine-stage.ts';
import { PublisherStage } from './publisher-stage.ts';

/** Operations by MQTT, through the real engine, publisher and broker. */

const WITHIN_MS = 20_000;
const FOREVER = 60;

let stage: PublisherStage;
let engines: EngineStage;
let engine: RunningEngine;
let client: MqttClient;
let on: (topic: string) => Record<string, unknown>[];

beforeEach(async () => {
  stage = new PublisherStage();
  await stage.open();
  engines = await engineStage({ database: stage.db });
  stage.cleanup.add(() => engines.close());
  engine = await engines.start();
  await writeRules(stage.db.sql, 'ann', [HOT], engine);
  ({ client, on } = await stage.app('app', 'users/ann/#'));
}, 60_000);
afterEach(() => stage.cleanup.end(), 60_000);

const published = () => on('users/ann/alerts').map(({ type, status }) => `${type} ${status}`);
const snoozes = () => stage.db.sql`SELECT until FROM snoozes`;
const refusals = () => on('users/ann/alerts/manage/rejected');
/** All that is recorded; `~` before what is muted. */
async function recorded(): Promise<string[]> {
  const rows = await stage.db.sql`SELECT type, status, muted FROM alert_events ORDER BY seq`;
  return rows.map(({ type, status, muted }) => `${muted ? '~' : ''}${type} ${status}`);
}
const RULE = { device_id: 'd1', rule_id: 'hot' };
async function manage(action: string, more: object = {}, options: object = {}): Promise<void> {
  const text = JSON.stringify({ ...RULE, action, ...more });
  await client.publishAsync('users/ann/alerts/manage', text, { qos: 1, ...options });
}
const snooze = (minutes: number) => manage('SNOOZE', { duration_minutes: minutes });
let seq = 0;
async function reading(at: number, temperature: number, device = 'd1'): Promise<void> {
  await engines.send({ user: 'ann', device, at, seq: ++seq, temperature });
  await engines.stored();
}
const hot = (at: number) => reading(at, 99);
const cool = (at: number) => reading(at, 20);
const recordedAre = (...expected: string[]) =>
  until(
    `recorded ${expected}`,
    async () => (await recorded()).join() === expected.join(),
    WITHIN_MS,
  );
const publishedAre = (...expected: string[]) =>
  until(`published ${expected}`, () => published().join() === expected.join(), WITHIN_MS);
/** Until all messages before it are handled. */
async function handled(): Promise<void> {
  const before = refusals().length;
  await manage('MARKER');
  await until('the marker', () => refusals().length > before, WITHIN_MS);
}

test('each operation is an event with who and when; a second time it changes nothing', async () => {
  await stage.publisher();
  await hot(1);
  await publishedAre('FIRED FIRING');
  const sinceMs = Date.now();
  for (let times = 0; times < 2; times++) await manage('ACKNOWLEDGE');
  for (let times = 0; times < 3; times++) await snooze(FOREVER);
  await publishedAre('FIRED FIRING', 'ACKNOWLEDGED FIRING', 'SNOOZED FIRING');
  const [alert] = await stage.db.sql`SELECT acknowledged_by, acknowledged_at FROM alerts`;
  expect(alert?.acknowledged_by).toBe('mqtt');
  for (let times = 0; times < 2; times++) await manage('UNSNOOZE');
  await handled();
  const names = ['FIRED', 'ACKNOWLEDGED', 'SNOOZED', 'UNSNOOZED'];
  await publishedAre(...names.map((name) => `${name} FIRING`));
  const [fired, ...operations] = on('users/ann/alerts');
  expect(fired).not.toHaveProperty('actor');
  for (const event of operations) {
    expect(event).toMatchObject({ actor: 'mqtt', id: fired?.id, device_id: 'd1', rule_id: 'hot' });
    const atMs = (parseRfc3339(event.time as string) as number) / 1_000;
    expect(atMs).toBeGreaterThanOrEqual(sinceMs - 1);
    expect(atMs).toBeLessThanOrEqual(Date.now() + 1);
  }
  const [, snoozed] = operations;
  const [end, start] = [snoozed?.snoozed_until, snoozed?.time].map((t) =>
    parseRfc3339(t as string),
  );
  expect((end as number) - (start as number)).toBe(FOREVER * 60_000_000);
  expect(operations.filter((event) => 'snoozed_until' in event)).toEqual([snoozed as never]);
  expect(await snoozes()).toHaveLength(0);
}, 60_000);

test('a snooze outlives its episode: the end of what was published is told, the next is not', async () => {
  await stage.publisher();
  await hot(1);
  await snooze(FOREVER);
  await recordedAre('FIRED FIRING', 'SNOOZED FIRING');
  await cool(2);
  await hot(3);
  await cool(4);
  await hot(5);
  const quiet = ['~FIRED FIRING', '~RESOLVED RESOLVED', '~FIRED FIRING'];
  await recordedAre('FIRED FIRING', 'SNOOZED FIRING', 'RESOLVED RESOLVED', ...quiet);
  await manage('ACKNOWLEDGE');
  await manage('UNSNOOZE');
  // Acknowledged while MQTT knew nothing of it, which it must not see firing and never resolved.
  await recordedAre(
    ...['FIRED FIRING', 'SNOOZED FIRING', 'RESOLVED RESOLVED', ...quiet],
    ...['~ACKNOWLEDGED FIRING', 'UNSNOOZED FIRING'],
  );
  await cool(6);
  await publishedAre(
    ...['FIRED FIRING', 'SNOOZED FIRING', 'RESOLVED RESOLVED'],
    ...['UNSNOOZED FIRING', 'RESOLVED RESOLVED'],
  );
  await hot(7);
  await until('the next one', () => published().at(-1) === 'FIRED FIRING', WITHIN_MS);
}, 60_000);

test('what fires still at the end of a snooze is told once, also where the publisher is killed', async () => {
  await stage.publisher();
  await stage.publisher({ wait: false });
  await cool(1);
  await snooze(FOREVER);
  await until('the snooze', async () => (await snoozes()).length === 1, WITHIN_MS);
  await hot(2);
  await recordedAre('~FIRED FIRING');
  await stage.db.sql`UPDATE snoozes SET until = now()`;
  await stage.db.sql`
    SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND application_name = 'publisher-lock' AND granted
      AND datname = current_database()`;
  // Killed behind its PUBLISH, what it sent is sent again, by the next one, with the same event_id.
  const told = () => {
    const events = new Map(on('users/ann/alerts').map(({ event_id, type }) => [event_id, type]));
    return [...events.values()].join();
  };
  await until('the reminder', () => told() === 'REMINDED', WITHIN_MS);
  await cool(3);
  await until('the end', () => told() === 'REMINDED,RESOLVED', WITHIN_MS);
  await recordedAre('~FIRED FIRING', 'REMINDED FIRING', 'RESOLVED RESOLVED');
  expect(on('users/ann/alerts')[0]).not.toHaveProperty('actor');
}, 90_000);

test('a rule is switched off and on, altogether and on one device, with who in its history', async () => {
  await stage.publisher();
  await hot(1);
  await reading(1, 99, 'd2');
  const reasons = async () => {
    const rows = await stage.db.sql`
      SELECT device_id, resolve_reason AS reason FROM alerts ORDER BY started_at, device_id`;
    return rows.map(({ device_id, reason }) => `${device_id} ${reason ?? 'FIRING'}`);
  };
  const are = (...expected: string[]) =>
    until(
      `alerts ${expected}`,
      async () => {
        await engine.rules.refresh();
        return (await reasons()).join() === expected.join();
      },
      WITHIN_MS,
    );
  await manage('DISABLE');
  await manage('DISABLE');
  await are('d1 DEVICE_DISABLED', 'd2 FIRING');
  await manage('DISABLE', { device_id: undefined });
  await are('d1 DEVICE_DISABLED', 'd2 RULE_DISABLED');
  await manage('ENABLE', { device_id: null });
  await manage('ENABLE');
  await until('both on', async () => (await versionOf()) === 5, WITHIN_MS);
  await engine.rules.refresh();
  await hot(2);
  await are('d1 DEVICE_DISABLED', 'd2 RULE_DISABLED', 'd1 FIRING');
  const changes = await stage.db.sql`
    SELECT version, actor FROM rule_changes WHERE kind = 'REVIEWED' ORDER BY version`;
  expect(changes.map(({ version, actor }) => `${version} ${actor}`)).toEqual([
    '1 sql',
    '2 mqtt',
    '3 mqtt',
    '4 mqtt',
    '5 mqtt',
  ]);
}, 60_000);

async function versionOf(): Promise<number> {
  const [row] = await stage.db.sql`SELECT accepted_version AS v FROM user_configs`;
  return row?.v as number;
}

test('what cannot be done is refused, changes nothing and is not retained', async () => {
  await stage.publisher();
  await cool(1);
  const table: [string, object, string[]][] = [
    ['SNOOZE', { duration_minutes: 5, rule_id: 'cold' }, ['rule_id']],
    ['SNOOZE', { duration_minutes: 5, device_id: 'd9' }, ['device_id']],
    ['SNOOZE', {}, ['duration_minutes']],
    ['UNSNOOZE', { rule_id: 'cold' }, ['rule_id']],
    ['ACKNOWLEDGE', {}, ['rule_id']],
    ['DISABLE', { rule_id: 'temperature-max' }, ['rule_id']],
    ['DISABLE', { device_id: 'x'.repeat(300) }, ['device_id']],
    ['EXPLODE', {}, ['action']],
  ];
  for (const [index, [action, more, paths]] of table.entries()) {
    await manage(action, more);
    await until(`refusal ${index}`, () => refusals().length === index + 1, WITHIN_MS);
    const refusal = refusals()[index] as { issues: { path: string }[] };
    expect(refusal).toMatchObject({ action, received_at: expect.stringMatching(/Z$/) });
    expect(refusal.issues.map(({ path }) => path)).toEqual(paths);
  }
  await client.publishAsync('users/ann/alerts/manage', '', { qos: 1 });
  await manage('UNSNOOZE');
  await handled();
  expect(refusals()).toHaveLength(table.length + 1);
  expect(await recorded()).toEqual([]);
  expect(await snoozes()).toHaveLength(0);
  expect(await versionOf()).toBe(1);
  const later = await stage.app('later', 'users/ann/alerts/manage/#');
  await manage('EXPLODE');
  await until('a live refusal', () => later.on('users/ann/alerts/manage/rejected').length > 0);
  expect(later.messages.filter(({ retain }) => retain)).toEqual([]);
}, 60_000);

test('a message whose answer was lost comes again and does nothing more', async () => {
  await hot(1);
  let lost = 0;
  const losing = new Set(['users/ann/alerts/manage']);
  await stage.publisher({ losesAnswer: (topic) => losing.has(topic) && ++lost <= 4 });
  await snooze(FOREVER);
  await until('four answers lost', () => lost > 4, WITHIN_MS);
  const [first] = await snoozes();
  losing.clear();
  await manage('ACKNOWLEDGE');
  await handled();
  await recordedAre('FIRED FIRING', 'SNOOZED FIRING', 'ACKNOWLEDGED FIRING');
  expect(await snoozes()).toEqual([first] as never);
}, 60_000);

test('operations sent while no publisher runs wait; a retained one is handled once', async () => {
  await hot(1);
  await (await stage.publisher()).close();
  await manage('ACKNOWLEDGE');
  await manage('SNOOZE', { duration_minutes: FOREVER }, { retain: true });
  const next = await stage.publisher();
  await recordedAre('FIRED FIRING', 'ACKNOWLEDGED FIRING', 'SNOOZED FIRING');
  await manage('UNSNOOZE');
  await recordedAre('FIRED FIRING', 'ACKNOWLEDGED FIRING', 'SNOOZED FIRING', 'UNSNOOZED FIRING');
  await next.close();
  // It subscribes anew, and gets what is retained.
  await stage.publisher();
  await handled();
  expect(await snoozes()).toHaveLength(0);
}, 60_000);
