import { afterEach, beforeEach, expect, test } from 'bun:test';
import { connect } from '../../src/store/connection.ts';
import { until } from '../mqtt/helpers.ts';
import { PublisherStage } from './publisher-stage.ts';

const LOW = { key: 'battery', operator: '<', threshold: 20, message: 'Low' };

let stage: PublisherStage;
beforeEach(async () => {
  stage = new PublisherStage();
  await stage.open();
}, 30_000);
afterEach(() => stage.cleanup.end(), 30_000);

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

test('alerts are sent once, in order, and marked', async () => {
  const { on } = await stage.app('app', 'users/+/alerts');
  await stage.publisher();
  await stage.insertAlerts(1, 700);
  await until('700 alerts', () => on('users/u/alerts').length >= 700);
  await until('the position', async () => (await stage.position('alerts')) === 700);
  expect(on('users/u/alerts').map((alert) => alert.seq)).toEqual(numbers(1, 700));
  expect(on('users/u/alerts')[0]).toEqual({
    id: 'a1',
    event_id: 'e1',
    seq: 1,
    type: 'FIRED',
    status: 'FIRING',
    user_id: 'u',
    device_id: 'd',
    rule_id: 'battery-lt',
    severity: 'WARNING',
    message: 'Low',
    key: 'battery',
    operator: '<',
    threshold: 20,
    value: 19.5,
    time: '2024-01-01T00:00:00.000001Z',
    started_at: '2024-01-01T00:00:00.000Z',
  });
  const unmarked = await stage.db.sql`SELECT FROM alert_events WHERE published_at IS NULL`;
  expect(unmarked).toHaveLength(0);
}, 20_000);

test('a user whose name no topic can hold stops nobody else', async () => {
  const { on } = await stage.app('app', 'users/+/alerts');
  await stage.publisher();
  await stage.insertAlerts(1, 1, 'a/b');
  await stage.insertAlerts(2, 2);
  await stage.writeSql([LOW], 'a/b');
  await stage.writeSql([LOW]);
  await until('the alert behind it', () => on('users/u/alerts').length === 1);
  await until('the positions', async () => (await stage.position('alerts')) === 2);
  await until('the configs', async () => (await stage.position('configs')) === 4);
}, 20_000);

test('while the broker is away alerts wait, and none is lost', async () => {
  const { on } = await stage.app('app', 'users/+/alerts', false);
  await stage.publisher();
  await stage.insertAlerts(1, 10);
  await until('10 alerts', () => on('users/u/alerts').length === 10);
  await until('the position', async () => (await stage.position('alerts')) === 10);
  const { port } = stage.broker;
  await stage.broker.close();
  await stage.insertAlerts(11, 600);
  stage.broker = await stage.cleanup.broker({ dataFile: stage.dataFile, port });
  const again = await stage.app('app', 'users/+/alerts', false);
  await until('the others', () => again.on('users/u/alerts').length >= 590, 10_000);
  const seqs = again.on('users/u/alerts').map((alert) => alert.seq);
  expect([...new Set(seqs)]).toEqual(numbers(11, 600));
}, 30_000);

test('a lost session ends the term; the next one goes on where it stopped', async () => {
  const { on } = await stage.app('app', 'users/+/alerts');
  const publisher = await stage.publisher();
  await stage.insertAlerts(1, 5);
  await until('5 alerts', () => on('users/u/alerts').length === 5);
  await until('the position', async () => (await stage.position('alerts')) === 5);
  const killed = await stage.db.sql`
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'publisher-lock' AND datname = current_database()`;
  expect(killed).toHaveLength(1);
  await until('stepping down', () => !publisher.elected);
  await until('the next election', () => publisher.elected);
  await stage.insertAlerts(6, 9);
  await until('the others', () => on('users/u/alerts').length >= 9);
  expect(on('users/u/alerts').map((alert) => alert.seq)).toEqual(numbers(1, 9));
}, 20_000);

test('of two only one is elected; the other follows when it stops', async () => {
  const first = await stage.publisher();
  const second = await stage.publisher({ wait: false });
  await until('both asked for the lock', async () => {
    const asked = await stage.db.sql`
      SELECT FROM pg_stat_activity WHERE application_name = 'publisher-lock' AND state = 'idle'
        AND datname = current_database() AND query ~ 'pg_try_advisory_lock|pg_locks'`;
    return asked.length === 2;
  });
  expect(second.elected).toBe(false);
  await first.close();
  await until('the second', () => second.elected);
}, 20_000);

test('what comes while the database is away is taken in and sent when it is back', async () => {
  const { client, on } = await stage.app('app', 'users/u/#');
  await stage.publisher();
  const [row] = await stage.db.sql<{ name: string }[]>`SELECT current_database() AS name`;
  const admin = connect(stage.db.url.replace(/[^/]*$/, 'postgres'), { max: 1 });
  stage.cleanup.add(() => admin.end({ timeout: 1 }));
  await admin.unsafe(`ALTER DATABASE ${row?.name} ALLOW_CONNECTIONS false`);
  await stage.db.sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name LIKE 'publisher%' AND datname = current_database()`;
  await client.publishAsync('users/u/config', '{"temperature_max":1}', { qos: 1 });
  await stage.insertAlerts(1, 300);
  await stage.book.refresh();
  await admin.unsafe(`ALTER DATABASE ${row?.name} ALLOW_CONNECTIONS true`);
  await until('the alerts', () => on('users/u/alerts').length >= 300, 15_000);
  await until('the change', () => on('users/u/config').some((body) => body.version === 1), 15_000);
  expect([...new Set(on('users/u/alerts').map((alert) => alert.seq))]).toEqual(numbers(1, 300));
}, 40_000);

test('no alert is seen resolved before it fires, or firing again, when a message fails', async () => {
  const { on } = await stage.app('app', 'users/u/alerts');
  let failures = 3;
  await stage.publisher({
    refuses: (topic, text) =>
      topic === 'users/u/alerts' && /"seq":[25],/.test(text) && failures-- > 0,
  });
  await stage.db.sql`
    INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id,
      severity, message, key, operator, threshold, value, time, started_at)
    SELECT n, 'e' || n, 'a' || (n + 1) / 2,
      CASE n % 2 WHEN 1 THEN 'FIRED' ELSE 'RESOLVED' END,
      CASE n % 2 WHEN 1 THEN 'FIRING' ELSE 'RESOLVED' END,
      'u', 'd', 'battery-lt', 'WARNING', 'Low', 'battery', '<', '20', '19.5',
      '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z'
    FROM generate_series(1, 8) n`;
  await until('the position', async () => (await stage.position('alerts')) === 8, 15_000);
  const seen = on('users/u/alerts');
  for (const id of ['a1', 'a2', 'a3', 'a4']) {
    const types = seen.filter((alert) => alert.id === id).map(({ type }) => type);
    expect(types.join(' ')).toMatch(/^(FIRED ?)+(RESOLVED ?)+$/);
  }
  expect(new Set(seen.map((alert) => alert.event_id)).size).toBe(8);
}, 30_000);
