import { afterAll, beforeAll, expect, test } from 'bun:test';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { REJECT_REASONS } from '../../src/domain/reading.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, listen, query, subscribe, telemetryTopic } from '../support/app-clients.ts';
import { type Exposition, parseExposition } from '../support/exposition.ts';
import { eventually } from '../support/process.ts';

let app: TestApp;
let sql: Sql;
let client: MqttClient;
beforeAll(async () => {
  app = await startTestApp({ LOG_PARTITIONS: '2' });
  sql = connect(app.databaseUrl, { max: 1 });
  client = await connectClient(app.mqttUrl);
}, 60_000);
afterAll(async () => {
  await client?.endAsync(true);
  await sql?.end({ timeout: 1 });
  await app?.remove();
}, 30_000);

async function scrape(): Promise<Exposition> {
  const response = await fetch(new URL('/metrics', app.graphqlUrl));
  expect(response.headers.get('content-type')).toStartWith('text/plain; version=0.0.4');
  return parseExposition(await response.text());
}

const send = (device: string, payload: object | string) =>
  client.publishAsync(
    telemetryTopic('ann', device),
    typeof payload === 'string' ? payload : JSON.stringify({ time: Date.now(), ...payload }),
    { qos: 1 },
  );

test('the figures are what has happened', async () => {
  const rules = [{ key: 'temperature', operator: '>', threshold: 80, message: 'hot' }];
  await sql`INSERT INTO user_configs (user_id, rules) VALUES ('ann', ${sql.json(rules as never)})`;
  const heard = await listen(client, 'users/ann/#');
  await eventually('the rules are in force', () => heard.some(({ json }) => json?.etag));
  const follower = subscribe(
    app.graphqlUrl,
    'subscription { ingestStatus { lag } }',
    'ingestStatus',
  );
  await eventually('the subscription', () => follower.events.length > 0, 20_000);

  for (let n = 0; n < 20; n++) await send(`d${n % 4}`, { sequence_id: n, temperature: 20 });
  for (const temperature of [90, 91, 20])
    await send('hot', { sequence_id: temperature, temperature });
  await send('bad', '{"time":');
  await send('bad', '[]');
  await send('bad', { sequence_id: 1, temperature: 'hot' });
  const sent = 26;
  const told = () => heard.filter(({ topic }) => topic === 'users/ann/alerts');
  await eventually('two transitions', () => told().length === 2, 20_000);
  const found = await eventually(
    'all is stored and sent',
    async () => {
      const now = await scrape();
      const lags = [...now.samples('pulsegraph_partition_lag_records').values()];
      const isDone =
        now.value('pulsegraph_mqtt_messages_in_total') === sent &&
        lags.every((lag) => lag === 0) &&
        now.value('pulsegraph_outbox_age_seconds') === 0;
      return isDone ? now : null;
    },
    20_000,
  );

  const { value, samples } = found;
  expect(value('pulsegraph_rows_stored_total')).toBe(23);
  expect(value('pulsegraph_readings_total{kind="live"}')).toBe(23);
  const deadLetters = [...samples('pulsegraph_dead_letters_total')];
  expect(deadLetters).toHaveLength(REJECT_REASONS.length);
  expect(Object.fromEntries(deadLetters.filter(([, count]) => count > 0))).toEqual({
    'pulsegraph_dead_letters_total{reason="BAD_JSON"}': 2,
    'pulsegraph_dead_letters_total{reason="WRONG_TYPE"}': 1,
  });
  expect(Object.fromEntries(samples('pulsegraph_alert_transitions_total'))).toEqual({
    'pulsegraph_alert_transitions_total{type="FIRED"}': 1,
    'pulsegraph_alert_transitions_total{type="RESOLVED"}': 1,
  });
  // Heartbeats are records too.
  expect(value('pulsegraph_records_total')).toBeGreaterThanOrEqual(sent);
  expect(value('pulsegraph_log_appended_total')).toBeGreaterThanOrEqual(sent);
  expect(value('pulsegraph_batch_records_sum')).toBe(value('pulsegraph_records_total'));
  expect(value('pulsegraph_batch_write_seconds_count')).toBeGreaterThan(0);
  expect(value('pulsegraph_batch_write_seconds_sum')).toBeGreaterThan(0);
  expect([...samples('pulsegraph_partition_running').values()]).toEqual([1, 1]);
  for (const age of samples('pulsegraph_partition_watermark_age_seconds').values()) {
    expect(age).toBeLessThan(60);
  }
  expect(value('pulsegraph_websocket_connections')).toBe(1);
  expect(value('pulsegraph_subscriptions')).toBe(1);
  expect(value('pulsegraph_rule_sets')).toBeGreaterThanOrEqual(1);
  expect(value('pulsegraph_mqtt_connections')).toBeGreaterThanOrEqual(2);
  expect(value('pulsegraph_log_size_bytes')).toBeGreaterThan(0);
  expect(value('process_resident_memory_bytes')).toBeGreaterThan(10e6);
  expect(value('pulsegraph_event_loop_delay_seconds{quantile="1"}')).toBeGreaterThan(0);
  const documented = await Bun.file(join(import.meta.dir, '../../docs/operations.md')).text();
  for (const name of found.types.keys()) expect(documented).toContain(`\`${name}\``);
  await follower.leave();
  await eventually(
    'the subscriber is gone',
    async () => (await scrape()).value('pulsegraph_subscriptions') === 0,
    20_000,
  );
}, 120_000);

test('ingest tells of every partition', async () => {
  const { ingest } = await eventually(
    'both partitions have stored something',
    async () => {
      const fields = 'partition isHere state watermark end lag rate watermarkAge watermarkTime';
      const data = await query(app.graphqlUrl, `{ ingest { lag rate partitions { ${fields} } } }`);
      const { partitions } = data.ingest;
      return partitions.every((one: { rate: unknown; watermarkAge: unknown }) => {
        return one.rate !== null && one.watermarkAge !== null;
      })
        ? data
        : null;
    },
    30_000,
  );
  expect(ingest.partitions.map(({ partition }: { partition: number }) => partition)).toEqual([
    0, 1,
  ]);
  for (const partition of ingest.partitions) {
    expect(partition).toMatchObject({ isHere: true, state: 'RUNNING' });
    expect(partition.end).toBe(partition.watermark + 1 + partition.lag);
    expect(partition.rate).toBeGreaterThanOrEqual(0);
    expect(partition.watermarkAge).toBeLessThan(60);
  }
}, 60_000);
