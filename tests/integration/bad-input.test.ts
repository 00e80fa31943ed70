import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import { createConnection } from 'node:net';
import mqtt, { type MqttClient } from 'mqtt';
import { generate, type Packet, parser } from 'mqtt-packet';
import { startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, query, queryText, telemetryTopic } from '../support/app-clients.ts';
import { eventually, isAlive } from '../support/process.ts';

const MAX_PAYLOAD_BYTES = 4096;
let app: TestApp;
let pid: number;
let client: MqttClient;
let good: MqttClient;
beforeAll(async () => {
  app = await startTestApp({ MAX_PAYLOAD_BYTES: String(MAX_PAYLOAD_BYTES) });
  pid = app.pid;
  [client, good] = await Promise.all([connectClient(app.mqttUrl), connectClient(app.mqttUrl)]);
}, 60_000);
// Whatever came in: the process runs on, and the readings of other devices are stored.
let sequence = 0;
afterEach(async () => {
  const sequence_id = ++sequence;
  await good.publishAsync(
    telemetryTopic('good', 'd'),
    JSON.stringify({ time: Date.now(), sequence_id, temperature: 20 }),
    { qos: 1 },
  );
  await eventually('a good reading is stored', async () => {
    const { user } = await query(app.graphqlUrl, LATEST, { user: 'good' });
    return user?.device?.latest?.sequenceId === sequence_id;
  });
  expect(isAlive(pid)).toBe(true);
  expect(app.stderr()).not.toContain('"level":60');
});
afterAll(async () => {
  await Promise.all([client.endAsync(true), good.endAsync(true)]);
  await app.remove();
}, 30_000);

const LATEST = `query ($user: ID!) {
  user(id: $user) { device(deviceId: "d") { latest { sequenceId temperature battery extraData } } }
}`;
const DEAD_LETTERS =
  '{ deadLetters(first: 100) { nodes { reason detail payload topic } pageInfo { hasNextPage } } }';

const time = 1_767_225_600;
const reading = (fields: object) => JSON.stringify({ time, sequence_id: 1, ...fields });
const BAD: [kind: string, reason: string, payload: string | Uint8Array][] = [
  ['no JSON', 'BAD_JSON', '{"time": 1, '],
  ['nothing', 'BAD_JSON', ''],
  ['an array', 'BAD_JSON', '[1, 2]'],
  ['null', 'BAD_JSON', 'null'],
  ['NaN', 'BAD_JSON', `{"time": ${time}, "sequence_id": 1, "temperature": NaN}`],
  ['nested a thousand levels deep', 'BAD_JSON', `{"a": ${'['.repeat(1000)}${']'.repeat(1000)}}`],
  ['bytes that are no UTF-8', 'BAD_ENCODING', Uint8Array.of(0x7b, 0xff, 0x00, 0x7d)],
  ['no time', 'MISSING_FIELD', '{"sequence_id": 1, "temperature": 1}'],
  ['no sequence_id', 'MISSING_FIELD', `{"time": ${time}}`],
  ['a time that is text', 'WRONG_TYPE', reading({ time: 'yesterday' })],
  ['a time in 1999', 'TIME_OUT_OF_RANGE', reading({ time: '1999-12-31T23:59:59Z' })],
  ['a time in two days', 'TIME_OUT_OF_RANGE', reading({ time: Date.now() + 2 * 86_400_000 })],
  ['a temperature that is text', 'WRONG_TYPE', reading({ temperature: '85.5' })],
  ['a battery with a fraction', 'WRONG_TYPE', reading({ battery: 15.5 })],
  ['a battery out of range', 'OUT_OF_RANGE', reading({ battery: 3e9 })],
  [
    'a temperature past doubles',
    'OUT_OF_RANGE',
    `{"time": ${time}, "sequence_id": 1, "temperature": 1e999}`,
  ],
  ['a sequence_id past 2^53', 'OUT_OF_RANGE', `{"time": ${time}, "sequence_id": 9007199254740993}`],
  ['a negative sequence_id', 'OUT_OF_RANGE', reading({ sequence_id: -1 })],
  ['another device than the topic', 'DEVICE_MISMATCH', reading({ device_id: 'other' })],
  ['a NUL character', 'UNSTORABLE_TEXT', reading({ note: 'a\0b' })],
  ['a NUL character in a name', 'UNSTORABLE_TEXT', reading({ 'a\0b': 1 })],
  ['a lone surrogate', 'UNSTORABLE_TEXT', `{"time": ${time}, "sequence_id": 1, "note": "\\ud800"}`],
  ['a payload over the limit', 'TOO_LARGE', reading({ note: 'x'.repeat(MAX_PAYLOAD_BYTES) })],
];

test('each kind of bad message is a dead letter with its reason and its very bytes', async () => {
  for (const [, , payload] of BAD) {
    await client.publishAsync(telemetryTopic('bad', 'd'), Buffer.from(payload as string), {
      qos: 1,
    });
  }
  const longName = 'n'.repeat(257);
  const topics = [
    'users/bad/telemetry',
    'users/bad/devices//telemetry',
    telemetryTopic('bad', longName),
  ];
  for (const topic of topics) await client.publishAsync(topic, reading({}), { qos: 1 });
  const { nodes } = await eventually('all are dead letters', async () => {
    const { deadLetters } = await query(app.graphqlUrl, DEAD_LETTERS);
    return deadLetters.nodes.length >= BAD.length + topics.length ? deadLetters : null;
  });
  const inOrder = nodes.filter(({ topic }: { topic: string }) => !topics.includes(topic)).reverse();
  expect(inOrder.map(({ reason }: { reason: string }, i: number) => [BAD[i]?.[0], reason])).toEqual(
    BAD.map(([kind, reason]) => [kind, reason]),
  );
  for (const [i, { payload, detail }] of inOrder.entries()) {
    expect(payload).toBe(Buffer.from(BAD[i]?.[2] as string).toString('base64'));
    expect(detail.length).toBeGreaterThan(5);
  }
  expect(nodes).toHaveLength(BAD.length + topics.length);
  for (const { topic, reason } of nodes) {
    expect(reason === 'BAD_TOPIC').toBe(topics.includes(topic));
  }
  expect(await query(app.graphqlUrl, '{ user(id: "bad") { id } }')).toEqual({ user: null });
}, 20_000);

test('unusual and right: kept to the digit and to the name', async () => {
  const extra =
    '{"big":9007199254740993,"huge":123456789012345678901234567890,"__proto__":{"polluted":true},' +
    '"constructor":{"prototype":1},"emoji":"🌡️","deep":{"a":[1,null,{"b":-9223372036854775809}]}}';
  const payload = `{"time":${time},"sequence_id":9007199254740991,"temperature":-0.0,${extra.slice(1)}`;
  await client.publishAsync(telemetryTopic('odd', 'd'), payload, { qos: 1 });
  const text = await eventually('the reading', async () => {
    const answer = await queryText(app.graphqlUrl, LATEST, { user: 'odd' });
    return answer.includes('sequenceId') ? answer : null;
  });
  for (const part of [
    '"sequenceId":9007199254740991',
    '"big":9007199254740993',
    '"huge":123456789012345678901234567890',
    '"__proto__":{"polluted":true}',
    '"constructor":{"prototype":1}',
    '"emoji":"🌡️"',
    '-9223372036854775809',
  ]) {
    expect(text).toContain(part);
  }
}, 20_000);

test('text against SQL, GraphQL and paths is a name like any other', async () => {
  const device = `'; DROP TABLE raw_telemetry; -- ../../"{}$1`.replaceAll('/', '%');
  await client.publishAsync(telemetryTopic("o'brien", device), reading({ temperature: 1 }), {
    qos: 1,
  });
  const find = `query ($device: ID!) {
    user(id: "o'brien") { device(deviceId: $device) { deviceId latest { temperature } } }
  }`;
  const found = await eventually('the device', async () => {
    const { user } = await query(app.graphqlUrl, find, { device });
    return user?.device?.latest && user.device;
  });
  expect(found).toEqual({ deviceId: device, latest: { temperature: 1 } });
}, 20_000);

test('an MQTT 5 client is refused in its own words, and the log names the way out', async () => {
  const socket = createConnection(Number(new URL(app.mqttUrl).port), '127.0.0.1');
  const answer = Promise.withResolvers<Packet>();
  const reading = parser({ protocolVersion: 5 });
  reading.on('packet', answer.resolve);
  socket.on('data', (chunk) => reading.parse(Buffer.from(chunk)));
  socket.on('error', () => {});
  const connect = {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clientId: 'v5',
  } as const;
  socket.write(Uint8Array.from(generate({ ...connect, clean: true, keepalive: 0 })));
  expect(await answer.promise).toMatchObject({ cmd: 'connack', reasonCode: 0x84 });
  socket.destroy();

  const refused = mqtt.connect(app.mqttUrl, { protocolVersion: 5, reconnectPeriod: 0 });
  const error = await new Promise<Error & { code?: number }>((resolve) =>
    refused.once('error', resolve),
  );
  expect(error.code).toBe(0x84);
  await refused.endAsync(true);
  await eventually('the log line', () => app.stderr().includes('MQTT 3.1.1'));
  expect(app.stderr()).toContain('MQTT_URL');
}, 20_000);

test('garbage on the ports ends its own connection only', async () => {
  for (const url of [app.mqttUrl, app.graphqlUrl]) {
    for (const bytes of ['\xff\xff\xff\xff\xff\xff', 'GET / HTTP/1.1\r\n\r\n', '\0'.repeat(5000)]) {
      const socket = createConnection(Number(new URL(url).port), '127.0.0.1');
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.on('error', () => {});
      socket.on('data', () => socket.end());
      socket.end(Buffer.from(bytes, 'latin1'));
      await closed;
    }
  }
}, 30_000);
