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
