import { afterEach, beforeEach, expect, test } from 'bun:test';
import pino from 'pino';
import { createPublisher, type Publisher } from '../../src/engine/publish.ts';
import { createRuleBook, type RuleBook } from '../../src/engine/rule-book.ts';
import { model } from '../../src/model.ts';
import type { Broker } from '../../src/mqtt/broker.ts';
import { connectMqtt } from '../../src/mqtt/client.ts';
import { createAlertEventTail } from '../../src/store/alert-event-tail.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { Cleanup, inbox, until } from '../mqtt/helpers.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const LOW = { key: 'battery', operator: '<', threshold: 20, message: 'Low' };
const logger = pino({ level: 'silent' });

const cleanup = new Cleanup();
let db: TestDatabase;
let sql: Sql;
let dataFile: string;
let broker: Broker;
let book: RuleBook;

beforeEach(async () => {
  db = await testDatabase();
  cleanup.add(() => db.drop());
  sql = connect(db.url, { max: 4, applicationName: 'publisher' });
  cleanup.add(() => sql.end({ timeout: 1 }));
  dataFile = `${cleanup.folder()}/mqtt.sqlite`;
  broker = await cleanup.broker({ dataFile });
  book = createRuleBook({ sql, model, logger });
  cleanup.add(() => book.close());
  await book.start();
}, 30_000);
afterEach(() => cleanup.end(), 30_000);

async function startPublisher({ wait = true } = {}): Promise<Publisher> {
  const tail = createAlertEventTail({ sql, logger });
  await tail.start();
  const publisher = createPublisher({
    sql,
    openSession: () => connect(db.url, { max: 1, applicationName: 'publisher-lock' }),
    connectMqtt: (options) =>
      connectMqtt({
        url: broker.url,
        ...options,
        backoff: { firstMs: 20, maxMs: 200 },
        logger,
      }),
    tail,
    ruleBook: book,
    model,
    logger,
    electionIntervalMs: 100,
  });
  cleanup.add(async () => {
    await publisher.close();
    await tail.close();
  });
  publisher.start();
  if (wait) await until('the election', () => publisher.subscribed);
  return publisher;
}

/** An app: what it got, parsed, by topic. */
async function app(clientId: string, filter: string, clean = true) {
  const client = await cleanup.client(broker.url, { clientId, clean });
  const { messages } = inbox(client);
  await client.subscribeAsync(filter, { qos: 1 });
  const parsed = () =>
    messages
      .filter(({ text }) => text.endsWith('}'))
      .map(({ topic, text }) => ({ topic, body: JSON.parse(text) }));
  const on = (topic: string) =>
    parsed()
      .filter((message) => message.topic === topic)
      .map(({ body }) => body);
  return { client, messages, on };
}

async function insertAlerts(from: number, to: number, userId = 'u'): Promise<void> {
  await db.sql`
    INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id, severity,
      message, key, operator, threshold, value, time, started_at)
    SELECT n, 'e' || n, 'a' || n, 'FIRED', 'FIRING', ${userId}, 'd', 'battery-lt', 'WARNING', 'Low',
      'battery', '<', '20', '19.5', '2024-01-01T00:00:00.000001Z', '2024-01-01T00:00:00Z'
    FROM generate_series(${from}::int, ${to}::int) n`;
}
const writeSql = (rules: unknown, userId = 'u') =>
  db.sql`INSERT INTO user_configs (user_id, rules) VALUES (${userId}, ${db.sql.json(rules as never)})
         ON CONFLICT (user_id) DO UPDATE SET rules = EXCLUDED.rules`;
async function version(userId = 'u'): Promise<number> {
  await book.refresh();
  return (await book.rulesFor([userId])).get(userId)?.version ?? -1;
}
async function position(stream: string): Promise<number> {
  const [row] = await db.sql<{ seq: number }[]>`
    SELECT seq FROM publisher_positions WHERE stream = ${stream}`;
  return row?.seq ?? 0;
}
const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

test('alerts are sent once, in order, and marked', async () => {
  const { on } = await app('app', 'users/+/alerts');
  await startPublisher();
  await insertAlerts(1, 700);
  await until('700 alerts', () => on('users/u/alerts').length >= 700);
  await until('the position', async () => (await position('alerts')) === 700);
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
  const unmarked = await db.sql`SELECT FROM alert_events WHERE published_at IS NULL`;
  expect(unmarked).toHaveLength(0);
}, 20_000);

test('a user whose name no topic can hold stops nobody else', async () => {
  const { on } = await app('app', 'users/+/alerts');
  await startPublisher();
  await insertAlerts(1, 1, 'a/b');
  await insertAlerts(2, 2);
  await writeSql([LOW], 'a/b');
  await writeSql([LOW]);
  await until('the alert behind it', () => on('users/u/alerts').length === 1);
  await until('the positions', async () => (await position('alerts')) === 2);
  await until('the configs', async () => (await position('configs')) === 4);
}, 20_000);

test('while the broker is away alerts wait, and none is lost', async () => {
  const { on } = await app('app', 'users/+/alerts', false);
  await startPublisher();
  await insertAlerts(1, 10);
  await until('10 alerts', () => on('users/u/alerts').length === 10);
  await until('the position', async () => (await position('alerts')) === 10);
  const { port } = broker;
  await broker.close();
  await insertAlerts(11, 600);
  broker = await cleanup.broker({ dataFile, port });
  const again = await app('app', 'users/+/alerts', false);
  await until('the others', () => again.on('users/u/alerts').length >= 590, 10_000);
  const seqs = again.on('users/u/alerts').map((alert) => alert.seq);
  expect([...new Set(seqs)]).toEqual(numbers(11, 600));
}, 30_000);

test('a lost session ends the term; the next one goes on where it stopped', async () => {
  const { on } = await app('app', 'users/+/alerts');
  const publisher = await startPublisher();
  await insertAlerts(1, 5);
  await until('5 alerts', () => on('users/u/alerts').length === 5);
  await until('the position', async () => (await position('alerts')) === 5);
  const killed = await db.sql`
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'publisher-lock' AND datname = current_database()`;
  expect(killed).toHaveLength(1);
  await until('stepping down', () => !publisher.elected);
  await until('the next election', () => publisher.elected);
  await insertAlerts(6, 9);
  await until('the others', () => on('users/u/alerts').length >= 9);
  expect(on('users/u/alerts').map((alert) => alert.seq)).toEqual(numbers(1, 9));
}, 20_000);

test('of two only one is elected; the other follows when it stops', async () => {
  const first = await startPublisher();
  const second = await startPublisher({ wait: false });
  await until('both asked for the lock', async () => {
    const asked = await db.sql`
      SELECT FROM pg_stat_activity WHERE application_name = 'publisher-lock' AND state = 'idle'
        AND datname = current_database() AND query ~ 'pg_try_advisory_lock|pg_locks'`;
    return asked.length === 2;
  });
  expect(second.elected).toBe(false);
  await first.close();
  await until('the second', () => second.elected);
}, 20_000);

test('a config by MQTT comes into force and is broadcast, retained, with version and etag', async () => {
  const { client, on } = await app('app', 'users/u/#');
  await startPublisher();
  await client.publishAsync('users/u/config', '{"temperature_max":80,"rules":[]}', { qos: 1 });
  await until('the broadcast', () => on('users/u/config').length === 2);
  expect(on('users/u/config')[1]).toMatchObject({
    temperature_max: 80,
    rules: [],
    version: 1,
    updated_by: 'mqtt',
  });
  await client.publishAsync('users/u/config', JSON.stringify({ rules: [LOW] }), { qos: 1 });
  await until('the second broadcast', () => on('users/u/config').length === 4);
  expect(on('users/u/config')[3]).toMatchObject({
    temperature_max: 80,
    rules: [{ ...LOW, id: 'battery-lt' }],
    version: 2,
  });
  const later = await app('later', 'users/u/config');
  await until('the retained one', () => later.messages.length === 1);
  expect(later.messages[0]?.retain).toBe(true);
  expect(later.on('users/u/config')[0].version).toBe(2);
  // Our broadcasts came back to us and changed nothing.
  expect(await version()).toBe(2);
}, 20_000);

test('an invalid config changes nothing, its faults are told, the broadcast is restored', async () => {
  const { client, on } = await app('app', 'users/u/#');
  await startPublisher();
  await writeSql([LOW]);
  await until('the broadcast', () => on('users/u/config').length === 1);
  const send = (text: string) =>
    client.publishAsync('users/u/config', text, { qos: 1, retain: true });
  await send('{"rules":[{"key":"x"}]}');
  await until('its faults', () => on('users/u/config/rejected').length === 1);
  expect(on('users/u/config/rejected')[0].issues.map((one: { path: string }) => one.path)).toEqual([
    'rules.0.operator',
    'rules.0.threshold',
    'rules.0.message',
  ]);
  expect(on('users/u/config/rejected')[0].received_at).toMatch(/Z$/);
  await until('the restored broadcast', () => on('users/u/config').at(-1).version === 1);
  await send('[');
  await until('its faults', () => on('users/u/config/rejected').length === 2);
  expect(await version()).toBe(1);
}, 20_000);

test('a message with another version is a conflict; an edited broadcast is a change', async () => {
  const { client, on } = await app('app', 'users/u/#');
  await startPublisher();
  await writeSql([LOW]);
  await until('the broadcast', () => on('users/u/config').length === 1);
  const send = (body: object) =>
    client.publishAsync('users/u/config', JSON.stringify(body), { qos: 1 });
  await send({ temperature_max: 1, version: 7 });
  await until('the conflict', () => on('users/u/config/rejected').length === 1);
  expect(on('users/u/config/rejected')[0].issues).toEqual([
    expect.objectContaining({ path: 'version', message: expect.stringContaining('version 1') }),
  ]);
  await send({ ...on('users/u/config')[0], temperature_max: 70 });
  await until('version 2', () => on('users/u/config').at(-1).version === 2);
  expect(on('users/u/config').at(-1)).toMatchObject({ temperature_max: 70 });
}, 20_000);

test('a cleared broadcast is sent again, one of a deleted config is not', async () => {
  const { client, on, messages } = await app('app', 'users/u/config');
  await startPublisher();
  await writeSql([LOW]);
  await until('the broadcast', () => on('users/u/config').length === 1);
  const clear = () => client.publishAsync('users/u/config', '', { qos: 1, retain: true });
  await clear();
  await until('the broadcast again', () => on('users/u/config').length === 2);
  await db.sql`DELETE FROM user_configs`;
  await until('the empty config', () => on('users/u/config').at(-1).version === 2);
  expect(on('users/u/config').at(-1)).toMatchObject({ rules: [], temperature_max: null });
  await clear();
  const marker = JSON.stringify({ rules: [{ key: 'marker' }] });
  const rejected = await app('marker', 'users/v/config/rejected');
  await client.publishAsync('users/v/config', marker, { qos: 1 });
  await until('what came after', () => rejected.messages.length === 1);
  expect(messages.at(-1)?.text).toBe('');
}, 20_000);

test('rules that SQL wrote wrong are told with their version', async () => {
  const { on } = await app('app', 'users/u/#');
  await startPublisher();
  await writeSql([LOW]);
  await until('the broadcast', () => on('users/u/config').length === 1);
  await writeSql([{ key: 'battery' }]);
  await until('the faults', () => on('users/u/config/rejected').length === 1);
  expect(on('users/u/config/rejected')[0]).toMatchObject({ version: 2 });
  expect(on('users/u/config')).toHaveLength(1);
}, 20_000);

test('configs sent while no publisher runs wait in its session', async () => {
  const first = await startPublisher();
  const { client, on } = await app('app', 'users/u/#');
  await client.publishAsync('users/u/config', '{"temperature_max":1}', { qos: 1 });
  await until('the broadcast', () => on('users/u/config').some((body) => body.version === 1));
  await first.close();
  await client.publishAsync('users/u/config', '{"temperature_max":2}', { qos: 1 });
  await startPublisher();
  await until('the change', () => on('users/u/config').some((body) => body.version === 2));
  expect(await version()).toBe(2);
}, 20_000);

test('what comes while the database is away is taken in and sent when it is back', async () => {
  const { client, on } = await app('app', 'users/u/#');
  await startPublisher();
  const [row] = await db.sql<{ name: string }[]>`SELECT current_database() AS name`;
  const admin = connect(db.url.replace(/[^/]*$/, 'postgres'), { max: 1 });
  cleanup.add(() => admin.end({ timeout: 1 }));
  await admin.unsafe(`ALTER DATABASE ${row?.name} ALLOW_CONNECTIONS false`);
  await db.sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name LIKE 'publisher%' AND datname = current_database()`;
  await client.publishAsync('users/u/config', '{"temperature_max":1}', { qos: 1 });
  await insertAlerts(1, 300);
  await book.refresh();
  await admin.unsafe(`ALTER DATABASE ${row?.name} ALLOW_CONNECTIONS true`);
  await until('the alerts', () => on('users/u/alerts').length >= 300, 15_000);
  await until('the change', () => on('users/u/config').some((body) => body.version === 1), 15_000);
  expect([...new Set(on('users/u/alerts').map((alert) => alert.seq))]).toEqual(numbers(1, 300));
}, 40_000);
