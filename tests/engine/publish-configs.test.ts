import { afterEach, beforeEach, expect, test } from 'bun:test';
import { until } from '../mqtt/helpers.ts';
import { PublisherStage } from './publisher-stage.ts';

const LOW = { key: 'battery', operator: '<', threshold: 20, message: 'Low' };

let stage: PublisherStage;
beforeEach(async () => {
  stage = new PublisherStage();
  await stage.open();
}, 30_000);
afterEach(() => stage.cleanup.end(), 30_000);

test('a config by MQTT comes into force and is broadcast, retained, with version and etag', async () => {
  const { client, on } = await stage.app('app', 'users/u/#');
  await stage.publisher();
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
  const later = await stage.app('later', 'users/u/config');
  await until('the retained one', () => later.messages.length === 1);
  expect(later.messages[0]?.retain).toBe(true);
  expect(later.on('users/u/config')[0].version).toBe(2);
  // Our broadcasts came back to us and changed nothing.
  expect(await stage.version()).toBe(2);
}, 20_000);

test('an invalid config changes nothing, its faults are told, the broadcast is restored', async () => {
  const { client, on } = await stage.app('app', 'users/u/#');
  await stage.publisher();
  await stage.writeSql([LOW]);
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
  expect(await stage.version()).toBe(1);
}, 20_000);

test('a message with another version is a conflict; an edited broadcast is a change', async () => {
  const { client, on } = await stage.app('app', 'users/u/#');
  await stage.publisher();
  await stage.writeSql([LOW]);
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
  const { client, on, messages } = await stage.app('app', 'users/u/config');
  await stage.publisher();
  await stage.writeSql([LOW]);
  await until('the broadcast', () => on('users/u/config').length === 1);
  const clear = () => client.publishAsync('users/u/config', '', { qos: 1, retain: true });
  await clear();
  await until('the broadcast again', () => on('users/u/config').length === 2);
  await stage.db.sql`DELETE FROM user_configs`;
  await until('the empty config', () => on('users/u/config').at(-1).version === 2);
  expect(on('users/u/config').at(-1)).toMatchObject({ rules: [], temperature_max: null });
  await clear();
  const marker = JSON.stringify({ rules: [{ key: 'marker' }] });
  const rejected = await stage.app('marker', 'users/v/config/rejected');
  await client.publishAsync('users/v/config', marker, { qos: 1 });
  await until('what came after', () => rejected.messages.length === 1);
  expect(messages.at(-1)?.text).toBe('');
}, 20_000);

test('rules that SQL wrote wrong are told with their version', async () => {
  const { on } = await stage.app('app', 'users/u/#');
  await stage.publisher();
  await stage.writeSql([LOW]);
  await until('the broadcast', () => on('users/u/config').length === 1);
  await stage.writeSql([{ key: 'battery' }]);
  await until('the faults', () => on('users/u/config/rejected').length === 1);
  expect(on('users/u/config/rejected')[0]).toMatchObject({ version: 2 });
  expect(on('users/u/config')).toHaveLength(1);
}, 20_000);

test('configs sent while no publisher runs wait in its session', async () => {
  const first = await stage.publisher();
  const { client, on } = await stage.app('app', 'users/u/#');
  await client.publishAsync('users/u/config', '{"temperature_max":1}', { qos: 1 });
  await until('the broadcast', () => on('users/u/config').some((body) => body.version === 1));
  await first.close();
  await client.publishAsync('users/u/config', '{"temperature_max":2}', { qos: 1 });
  await stage.publisher();
  await until('the change', () => on('users/u/config').some((body) => body.version === 2));
  expect(await stage.version()).toBe(2);
}, 20_000);

test('a config that the broker refuses is left out: other configs and all alerts get through', async () => {
  // Stored before its size was bounded: the broker ends the connection above 1 MiB.
  await stage.writeSql([LOW], 'big');
  expect(await stage.version('big')).toBe(1);
  const accepted = { shorthands: {}, rules: [{ ...LOW, id: 'a', message: 'x'.repeat(1_200_000) }] };
  await stage.db.sql`UPDATE user_configs SET accepted = ${stage.db.sql.json(accepted)}`;
  await stage.writeSql([LOW]);
  const { on } = await stage.app('app', 'users/#');
  await stage.publisher();
  await stage.insertAlerts(1, 300);
  await until('the alerts', () => on('users/u/alerts').length >= 300, 3_000);
  await until('the config behind it', () => on('users/u/config').length > 0, 20_000);
  const [newest] = await stage.db.sql<{ seq: number }[]>`SELECT max(seq) AS seq FROM rule_changes`;
  await until(
    'the position',
    async () => (await stage.position('configs')) === newest?.seq,
    20_000,
  );
  expect(on('users/big/config')).toEqual([]);
  expect(on('users/u/alerts')).toHaveLength(300);
}, 60_000);

test('a broadcast of stored rules that are no longer valid is not answered for ever', async () => {
  const { client, messages, on } = await stage.app('app', 'users/u/#');
  await stage.publisher();
  await stage.writeSql([LOW]);
  await until('the broadcast', () => on('users/u/config').length === 1);
  const old = on('users/u/config')[0].rules[0];
  const accepted = { shorthands: {}, rules: [{ ...old, operator: '~' }] };
  await stage.db.sql`UPDATE user_configs SET accepted = ${stage.db.sql.json(accepted)}`;
  await client.publishAsync('users/u/config', '', { qos: 1, retain: true });
  await until('the broadcast again', () => on('users/u/config').length === 2);
  expect(on('users/u/config')[1].rules[0].operator).toBe('~');
  // What comes behind it is handled behind it.
  const rejected = await stage.app('marker', 'users/+/config/rejected');
  for (const marker of ['v', 'w', 'x']) {
    await client.publishAsync(`users/${marker}/config`, '[', { qos: 1 });
    await until('the marker', () => rejected.on(`users/${marker}/config/rejected`).length === 1);
  }
  expect(messages.map(({ topic }) => topic)).toEqual(Array(3).fill('users/u/config'));
}, 20_000);

test('an old broadcast that comes late does not stay: the newest is sent again, once', async () => {
  const { client, messages, on } = await stage.app('app', 'users/u/#');
  await stage.publisher();
  await stage.writeSql([LOW]);
  await until('the broadcast', () => on('users/u/config').length === 1);
  const stale = messages[0]?.text as string;
  await stage.writeSql([{ ...LOW, threshold: 30 }]);
  await until('the second', () => on('users/u/config').length === 2);
  await client.publishAsync('users/u/config', stale, { qos: 1, retain: true });
  await until('the newest again', () => on('users/u/config').length === 4);
  await client.publishAsync('users/v/config', '[', { qos: 1 });
  const later = await stage.app('later', 'users/u/config');
  await until('the retained one', () => later.messages.length === 1);
  expect(later.on('users/u/config')[0].version).toBe(2);
  expect(on('users/u/config').map(({ version }) => version)).toEqual([1, 2, 1, 2]);
  expect(on('users/u/config/rejected')).toEqual([]);
}, 20_000);

test('what keeps replacing a broadcast is not answered for ever', async () => {
  const { client, on } = await stage.app('app', 'users/u/config');
  await stage.publisher();
  await stage.writeSql([LOW]);
  await until('the broadcast', () => on('users/u/config').length === 1);
  // As another deployment on this broker would, that takes each of ours for a fault.
  let answers = 0;
  client.on('message', (_, payload) => {
    if (!payload.toString().endsWith('}') || answers > 100) return;
    answers++;
    client.publish('users/u/config', '{"rules": "none"]', { qos: 1 });
  });
  client.publish('users/u/config', '[', { qos: 1 });
  const rejected = await stage.app('marker', 'users/+/config/rejected');
  await until('the last answer', () => rejected.messages.length > 30, 10_000);
  for (const marker of ['v', 'w', 'x']) {
    await client.publishAsync(`users/${marker}/config`, '[', { qos: 1 });
    await until('the marker', () =>
      rejected.messages.some(({ topic }) => topic === `users/${marker}/config/rejected`),
    );
  }
  expect(answers).toBe(30);
}, 20_000);

test('a notice that cannot be sent holds up no message behind it', async () => {
  const { client, on } = await stage.app('app', 'users/+/config');
  await stage.publisher({ refuses: (topic) => topic === 'users/u/config/rejected' });
  await client.publishAsync('users/u/config', '[', { qos: 1 });
  await client.publishAsync('users/v/config', '{"temperature_max":1}', { qos: 1 });
  await until('the change behind it', () => on('users/v/config').length === 2, 15_000);
  expect(await stage.version('v')).toBe(1);
}, 30_000);

test('each deployment has its own session on a broker', async () => {
  await (await stage.publisher()).close();
  await stage.publisher({ name: 'staging' });
  const sessions = stage.clientIds.filter((id) => id.endsWith('-publisher'));
  expect(sessions).toEqual(['pulsegraph-publisher', 'staging-publisher']);
  expect(stage.clientIds.filter((id) => id.startsWith('staging-publisher-'))).toHaveLength(2);
}, 20_000);
