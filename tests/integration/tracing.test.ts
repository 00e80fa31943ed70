import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { MqttClient } from 'mqtt';
import { connect, type Sql } from '../../src/store/connection.ts';
import { startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, listen, subscribe, telemetryTopic } from '../support/app-clients.ts';
import { attributesOf, type ReceivedSpan, startCollector } from '../support/collector.ts';
import { eventually } from '../support/process.ts';

const collector = startCollector();
const { spans } = collector;

let app: TestApp;
let sql: Sql;
let client: MqttClient;
beforeAll(async () => {
  app = await startTestApp({
    OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/`,
    OTEL_EXPORTER_OTLP_HEADERS: 'x-team=iot%20team',
    OTEL_SERVICE_NAME: 'fleet',
    OTEL_TRACES_SAMPLER_ARG: '1',
  });
  sql = connect(app.databaseUrl, { max: 1 });
  client = await connectClient(app.mqttUrl);
}, 60_000);
afterAll(async () => {
  await client?.endAsync(true);
  await sql?.end({ timeout: 1 });
  await app?.remove();
  await collector.close();
}, 30_000);

test('one trace goes from the MQTT publish through the transaction to the alert and its subscriber', async () => {
  const rules = [{ key: 'temperature', operator: '>', threshold: 80, message: 'hot' }];
  await sql`INSERT INTO user_configs (user_id, rules) VALUES ('ann', ${sql.json(rules as never)})`;
  const heard = await listen(client, 'users/ann/#');
  await eventually('the rules are in force', () => heard.some(({ json }) => json?.etag), 20_000);
  const follower = subscribe(
    app.graphqlUrl,
    'subscription { alertEvents(userId: "ann", after: 0) { seq alert { id } } }',
    'alertEvents',
  );
  const topic = telemetryTopic('ann', 'd1');
  const send = (sequence_id: number, temperature: number) =>
    client.publishAsync(
      topic,
      JSON.stringify({ time: Date.now() + sequence_id, sequence_id, temperature }),
      { qos: 1 },
    );
  await send(1, 20);
  await send(2, 90);
  const trace = await eventually(
    'the whole trace',
    () => collector.traceOf('send alert', 5),
    30_000,
  );
  const [event] = follower.events;
  await follower.leave();

  const one = (name: string) => trace.find((span) => span.name === name) as ReceivedSpan;
  const parents = { store: 'publish', transaction: 'store', 'send alert': 'publish' };
  for (const [child, parent] of Object.entries({ ...parents, 'deliver alert': 'publish' })) {
    expect([child, one(child).parentSpanId]).toEqual([child, one(parent).spanId]);
  }
  expect(one('publish').parentSpanId ?? '').toBe('');
  const attributes = (name: string) => attributesOf(one(name));
  expect(attributes('publish')).toMatchObject({ 'messaging.destination.name': topic });
  expect(attributes('transaction')).toMatchObject({ 'pulsegraph.batch.transitions': 1 });
  expect(attributes('store')).toHaveProperty(['pulsegraph.offset']);
  expect(attributes('send alert')).toMatchObject({
    'messaging.destination.name': 'users/ann/alerts',
    'pulsegraph.alert.id': event.alert.id,
    'pulsegraph.alert.type': 'FIRED',
  });
  for (const { startTimeUnixNano: start, endTimeUnixNano: end } of trace) {
    expect(BigInt(end) >= BigInt(start)).toBe(true);
    expect(Math.abs(Number(BigInt(start) / 1_000_000n) - Date.now())).toBeLessThan(120_000);
  }
  expect(BigInt(one('send alert').startTimeUnixNano)).toBeGreaterThanOrEqual(
    BigInt(one('transaction').startTimeUnixNano),
  );
  // The other reading has a trace of its own, that ends with its row.
  const other = await eventually(
    'the other trace',
    () => {
      const rest = spans.filter(({ traceId }) => traceId !== trace[0]?.traceId);
      return rest.length >= 3 ? rest : null;
    },
    30_000,
  );
  expect(other.map(({ name }) => name).toSorted()).toEqual(['publish', 'store', 'transaction']);
  expect(new Set(other.map(({ traceId }) => traceId)).size).toBe(1);
  expect([...collector.services]).toEqual(['fleet']);
  expect(new Set(collector.headers.map((one) => one.get('x-team')))).toEqual(new Set(['iot team']));
}, 120_000);
