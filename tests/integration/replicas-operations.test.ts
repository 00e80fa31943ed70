import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { MqttClient } from 'mqtt';
import { connectClient, listen, query, subscribe, telemetryTopic } from '../support/app-clients.ts';
import { type Cluster, noCluster, startCluster } from '../support/cluster.ts';
import { type Collector, startCollector } from '../support/collector.ts';
import { type Exposition, parseExposition } from '../support/exposition.ts';
import { eventually } from '../support/process.ts';

const PARTITIONS = 4;
const WITHIN_MS = 60_000;

interface Partition {
  partition: number;
  isHere: boolean;
  state: string | null;
  watermark: number;
  end: number | null;
  lag: number | null;
  rate: number | null;
}

describe.skipIf(noCluster)('two processes as one group', () => {
  let collector: Collector;
  let cluster: Cluster;
  let client: MqttClient;
  beforeAll(async () => {
    collector = startCollector();
    const tracing = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_TRACES_SAMPLER_ARG: '1' };
    cluster = await startCluster({ partitions: PARTITIONS, settings: tracing });
    await Promise.all(['one', 'two'].map((name) => cluster.join({ OTEL_SERVICE_NAME: name })));
    client = await connectClient(cluster.mosquitto.url);
  }, 120_000);
  afterAll(async () => {
    await client?.endAsync(true);
    await cluster?.close();
    await collector?.close();
  }, 60_000);

  const partitionsOf = async (graphqlUrl: string): Promise<Partition[]> =>
    (
      await query(
        graphqlUrl,
        '{ ingest { partitions { partition isHere state watermark end lag rate } } }',
      )
    ).ingest.partitions;
  const scrape = async (graphqlUrl: string): Promise<Exposition> =>
    parseExposition(await (await fetch(new URL('/metrics', graphqlUrl))).text());

  test('each tells of every partition, its own and the other one’s', async () => {
    const urls = cluster.replicas.map(({ graphqlUrl }) => graphqlUrl);
    const told = await eventually(
      'all are stored, and each has its part',
      async () => {
        const all = await Promise.all(urls.map(partitionsOf));
        const isWhole = all.every(
          (partitions) =>
            partitions.length === PARTITIONS &&
            partitions.some(({ isHere }) => isHere) &&
            partitions.every(({ watermark, lag, rate }) => {
              return watermark >= 0 && lag === 0 && rate !== null;
            }),
        );
        return isWhole ? all : null;
      },
      WITHIN_MS,
    );
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const [first, second] = told.map((partitions) => partitions[partition] as Partition);
      expect([first?.isHere, second?.isHere].toSorted()).toEqual([false, true]);
      expect([first?.state, second?.state].toSorted()).toEqual(['RUNNING', null]);
    }
    const scrapes = await Promise.all(urls.map(scrape));
    const own = scrapes.flatMap((one) => [
      ...one.samples('pulsegraph_partition_lag_records').keys(),
    ]);
    expect(own.toSorted()).toEqual(
      [0, 1, 2, 3].map((n) => `pulsegraph_partition_lag_records{partition="${n}"}`),
    );
    const bridges = scrapes.map((one) => one.value('pulsegraph_bridge_connected'));
    expect(bridges.toSorted()).toEqual([0, 1]);
  }, 120_000);

  test('a trace goes through whichever of them do the work', async () => {
    const rules = [{ key: 'temperature', operator: '>', threshold: 80, message: 'hot' }];
    await cluster.sql`
      INSERT INTO user_configs (user_id, rules)
      VALUES ('ann', ${cluster.sql.json(rules as never)})`;
    const heard = await listen(client, 'users/ann/#');
    await eventually(
      'the rules are in force',
      () => heard.some(({ json }) => json?.etag),
      WITHIN_MS,
    );
    const document = 'subscription { alertEvents(userId: "ann", after: 0) { seq } }';
    const followers = cluster.replicas.map((one) =>
      subscribe(one.graphqlUrl, document, 'alertEvents'),
    );
    const devices = Array.from({ length: 12 }, (_, n) => `d${n}`);
    for (const [index, device] of devices.entries()) {
      const reading = { time: Date.now(), sequence_id: index, temperature: 90 };
      await client.publishAsync(telemetryTopic('ann', device), JSON.stringify(reading), { qos: 1 });
    }
    const traces = await eventually(
      'a whole trace of each',
      () => {
        const byTrace = Map.groupBy(collector.spans, ({ traceId }) => traceId);
        const whole = [...byTrace.values()].filter((trace) => trace.length === 6);
        return whole.length === devices.length ? whole : null;
      },
      WITHIN_MS,
    );
    for (const follower of followers) await follower.leave();
    for (const trace of traces) {
      expect(trace.map(({ name }) => name).toSorted()).toEqual([
        'deliver alert',
        'deliver alert',
        'publish',
        'send alert',
        'store',
        'transaction',
      ]);
      const delivered = trace.filter(({ name }) => name === 'deliver alert');
      expect(delivered.map(({ service }) => service).toSorted()).toEqual(['one', 'two']);
    }
    // Twelve devices are on partitions of both.
    const storing = traces.flat().filter(({ name }) => name === 'store');
    expect(new Set(storing.map(({ service }) => service)).size).toBe(2);
  }, 180_000);
});
