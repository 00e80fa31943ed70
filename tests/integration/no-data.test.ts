import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { MqttClient } from 'mqtt';
import { startTestApp, type TestApp } from '../support/app.ts';
import {
  connectClient,
  type Heard,
  listen,
  query,
  telemetryTopic,
} from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';

const RULE = { noData: '15s', message: '{device_id} is silent for {value}', severity: 'CRITICAL' };
/** The shortest there is, and two heartbeats of 5 s; the rest is for a machine that is busy. */
const FIRES_WITHIN_MS = 60_000;

let app: TestApp;
let client: MqttClient;
let heard: Heard[];
beforeAll(async () => {
  app = await startTestApp();
  client = await connectClient(app.mqttUrl);
  heard = await listen(client, 'users/#');
}, 60_000);
afterAll(async () => {
  await client.endAsync(true);
  await app.remove();
}, 30_000);

const on = (topic: string) => heard.filter((message) => message.topic === topic);
let sequence = 0;
const publish = (device: string) =>
  client.publishAsync(
    telemetryTopic('ann', device),
    JSON.stringify({ time: Date.now(), sequence_id: ++sequence, temperature: 20 }),
    { qos: 1 },
  );
const alerts = async () => {
  const document =
    '{ user(id: "ann") { alerts { nodes { id device { deviceId } status value } } } }';
  return (await query(app.graphqlUrl, document)).user.alerts.nodes;
};
/** By way of MQTT, each id once: what is sent twice has the same. */
const told = () => {
  const byId = new Map(on('users/ann/alerts').map(({ json }) => [json.id + json.type, json]));
  return [...byId.values()];
};

test('a silent device is told of over a kill -9, once, and its next reading resolves it', async () => {
  await client.publishAsync('users/ann/config', JSON.stringify({ rules: [RULE] }), { qos: 1 });
  await eventually('the rule is in force', () =>
    on('users/ann/config').some(({ json }) => json?.rules?.[0]?.noData === 'PT15S'),
  );
  await publish('pump_1');
  await publish('pump_2');
  await eventually('both are stored', async () => {
    const { user } = await query(
      app.graphqlUrl,
      '{ user(id: "ann") { devices { nodes { id } } } }',
    );
    return user.devices.nodes.length === 2;
  });
  await app.kill();
  await app.restart();
  // One that speaks at least each 5 s is never taken for silent.
  const speaker = setInterval(() => void publish('pump_2').catch(() => {}), 2_000);
  try {
    await eventually('it is told', () => told().length > 0, FIRES_WITHIN_MS);
    expect(told()).toMatchObject([
      {
        type: 'FIRED',
        device_id: 'pump_1',
        rule_id: 'no-data',
        severity: 'CRITICAL',
        message: 'pump_1 is silent for PT15S',
        key: null,
        value: null,
        threshold: 'PT15S',
      },
    ]);
    expect(await alerts()).toMatchObject([
      { device: { deviceId: 'pump_1' }, status: 'FIRING', value: null },
    ]);
    await app.kill();
    await app.restart();
    await publish('pump_1');
    await eventually('it is over', () => told().length > 1, FIRES_WITHIN_MS);
  } finally {
    clearInterval(speaker);
  }
  const [fired, resolved] = told();
  expect(resolved).toMatchObject({ type: 'RESOLVED', device_id: 'pump_1', id: fired.id });
  expect(await alerts()).toMatchObject([{ device: { deviceId: 'pump_1' }, status: 'RESOLVED' }]);
  expect(told()).toHaveLength(2);
}, 180_000);
