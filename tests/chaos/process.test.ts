import { afterEach, beforeEach, expect, test } from 'bun:test';
import type { MqttClient } from 'mqtt';
import { isOpen, processesIn, startTestApp, type TestApp } from '../support/app.ts';
import {
  connectClient,
  type Heard,
  listen,
  query,
  telemetryTopic,
} from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';

const DEVICES = 4;
/** Messages a client has on the way at a time. */
const IN_FLIGHT = 50;
const START = Date.UTC(2026, 0, 1);

let app: TestApp;
let clients: MqttClient[];
let listener: MqttClient;
let alerts: Heard[];
beforeEach(async () => {
  app = await startTestApp();
  clients = await Promise.all(
    Array.from({ length: DEVICES }, (_, i) =>
      connectClient(app.mqttUrl, { clientId: `device-${i}` }),
    ),
  );
  listener = await connectClient(app.mqttUrl, { clientId: 'listener', clean: false });
  alerts = await listen(listener, 'users/+/alerts');
  await query(app.graphqlUrl, 'mutation { setRules(userId: "u", temperatureMax: 80) { version } }');
}, 60_000);
afterEach(async () => {
  await Promise.all([...clients, listener].map((client) => client.endAsync(true)));
  await app.remove();
}, 30_000);

/** Readings 20 to 29 of each 50 are too hot: one alert, fired and resolved. */
const temperatureOf = (sequenceId: number) =>
  sequenceId % 50 >= 20 && sequenceId % 50 < 30 ? 90 : 20;

/** Publishes at QoS 1 until told to stop; what had no PUBACK is sent again, as devices do. */
function publishing() {
  const acknowledged = clients.map(() => new Set<number>());
  let going = true;
  const done = clients.map(async (client, device) => {
    let next = 0;
    const lane = async () => {
      while (going) {
        const sequence_id = next++;
        const time = START + sequence_id * 1_000;
        const text = JSON.stringify({ time, sequence_id, temperature: temperatureOf(sequence_id) });
        await client.publishAsync(telemetryTopic('u', `d${device}`), text, { qos: 1 });
        acknowledged[device]?.add(sequence_id);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  });
  return {
    acknowledged,
    total: () => acknowledged.reduce((sum, { size }) => sum + size, 0),
    finish: async () => {
      going = false;
      await Promise.all(done);
    },
  };
}

async function listedSequences(device: string): Promise<number[]> {
  const sequences: number[] = [];
  let after: string | null = null;
  do {
    const { user } = await query(
      app.graphqlUrl,
      `query ($device: ID!, $after: String) { user(id: "u") { device(deviceId: $device) {
         readings(first: 1000, after: $after, order: ASC) {
           nodes { sequenceId } pageInfo { hasNextPage endCursor }
         }
       } } }`,
      { device, after },
    );
    const { nodes, pageInfo } = user.device.readings;
    sequences.push(...nodes.map(({ sequenceId }: { sequenceId: number }) => sequenceId));
    after = pageInfo.hasNextPage ? pageInfo.endCursor : null;
  } while (after !== null);
  return sequences;
}

/** Everything acknowledged is listed, nothing twice, and each alert was fired and resolved once. */
async function checkAll(acknowledged: Set<number>[]): Promise<void> {
  await eventually('the log is stored', async () => {
    const { ingest } = await query(app.graphqlUrl, '{ ingest { lag } }');
    return ingest.lag === 0;
  });
  let due = 0;
  for (const [i, sent] of acknowledged.entries()) {
    const listed = await listedSequences(`d${i}`);
    expect(listed.length).toBe(new Set(listed).size);
    const missing = [...sent].filter((sequenceId) => !new Set(listed).has(sequenceId));
    expect(missing).toEqual([]);
    const newest = Math.max(...listed);
    due += Math.floor(newest / 50) + (newest % 50 >= 20 ? 1 : 0);
  }
  const { alerts: stored } = await query(
    app.graphqlUrl,
    '{ alerts(first: 1000) { nodes { id startedAt device { deviceId } events { type } } } }',
  );
  const perEpisode = stored.nodes.map(
    (alert: { startedAt: string; device: { deviceId: string } }) =>
      `${alert.device.deviceId} ${Math.floor((Date.parse(alert.startedAt) - START) / 50_000)}`,
  );
  expect(new Set(perEpisode).size).toBe(perEpisode.length);
  expect(perEpisode.length).toBe(due);
  for (const { events } of stored.nodes) {
    const types = events.map(({ type }: { type: string }) => type);
    expect([['FIRED'], ['FIRED', 'RESOLVED']]).toContainEqual(types);
  }
  // At least once on MQTT, by design; nothing missing, nothing made up.
  const expected = new Set(
    stored.nodes.flatMap(({ id, events }: { id: string; events: { type: string }[] }) =>
      events.map(({ type }) => `${id} ${type}`),
    ),
  );
  const heard = () => new Set(alerts.map(({ json }) => `${json.id} ${json.type}`));
  await eventually('each transition was heard', () => heard().size >= expected.size);
  expect(heard()).toEqual(expected as Set<string>);
}

test('kill -9 of the process, twice, while devices publish: all once, and no orphan', async () => {
  const load = publishing();
  for (const atLeast of [1_000, 3_000]) {
    await eventually('messages are acknowledged', () => load.total() >= atLeast);
    const before = app.postgresPid();
    await app.kill();
    // No need to wait for the old PostgreSQL: the next start deals with it.
    await app.restart();
    expect(app.postgresPid()).not.toBe(before);
  }
  const total = load.total();
  await eventually('devices go on', () => load.total() > total + 1_000);
  await load.finish();
  await checkAll(load.acknowledged);

  await app.kill();
  await eventually('PostgreSQL follows its killed process', () => !processesIn(app.dataDir).length);
  for (const url of [app.databaseUrl, app.mqttUrl, app.graphqlUrl]) {
    expect(await isOpen(Number(new URL(url).port))).toBe(false);
  }
}, 90_000);

test('kill -9 of PostgreSQL while devices publish: MQTT goes on, and all is stored once', async () => {
  const load = publishing();
  await eventually('messages are acknowledged', () => load.total() >= 1_000);
  const before = app.postgresPid();
  process.kill(before, 'SIGKILL');
  const total = load.total();
  await eventually('MQTT goes on', () => load.total() > total + 500);
  await eventually('PostgreSQL is back', () => app.stderr().includes('PostgreSQL is back'), 30_000);
  expect(app.postgresPid()).not.toBe(before);
  await load.finish();
  await checkAll(load.acknowledged);
  expect(await app.stop()).toBe(0);
}, 90_000);
