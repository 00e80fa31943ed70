import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HOT, message } from '../engine/engine-stage.ts';
import { type KafkaStage, kafkaStage, storedIn } from '../engine/kafka-stage.ts';
import { connectClient, listen, query } from '../support/app-clients.ts';
import { type Cluster, noCluster, startCluster } from '../support/cluster.ts';
import { createFleet } from '../support/fleet.ts';
import { noKafka } from '../support/kafka.ts';
import { eventually } from '../support/process.ts';

const TIMEOUT_MS = 120_000;

describe.skipIf(noCluster)('a process that moves to Kafka', () => {
  const leaves: (() => unknown)[] = [];
  afterEach(async () => {
    for (const leave of leaves.splice(0).reverse()) await leave();
  }, TIMEOUT_MS);

  const statesIn = async ({ sql }: Cluster) =>
    new Map(
      (
        await sql<{ device_id: string; version: number; first_seen_at: number }[]>`
          SELECT device_id, version, first_seen_at FROM device_state`
      ).map(({ device_id, version, first_seen_at: seen }) => [device_id, { version, seen }]),
    );

  test(
    'goes on where the embedded log ended; a group that is reset replays, and no rule fires again',
    async () => {
      const cluster = await startCluster();
      leaves.push(() => cluster.close());
      const dataDir = mkdtempSync(join(tmpdir(), 'pulsegraph-moving-'));
      leaves.push(() => rmSync(dataDir, { recursive: true, force: true }));
      const { sql, kafka, topic, groupId } = cluster;
      const client = await connectClient(cluster.mosquitto.url);
      leaves.push(() => client.endAsync(true));
      const heard = await listen(client, 'users/+/alerts');

      const embedded = await cluster.join({ KAFKA_BROKERS: '', DATA_DIR: dataDir });
      const fleet = await createFleet({ sql, client, user: 'mover' });
      await fleet.sendRounds(35);
      await fleet.expectStoredOnce(sql);
      await fleet.expectHeard(heard);
      const before = await statesIn(cluster);
      expect(await embedded.stop()).toBe(0);
      // For the bridge's session; each device has an open episode.
      await fleet.sendRounds(3);

      const moved = await cluster.join();
      await fleet.sendRounds(32);
      await fleet.expectStoredOnce(sql);
      await fleet.expectHeard(heard);
      for (const [device, { version, seen }] of await statesIn(cluster)) {
        expect(version).toBeGreaterThan(before.get(device)?.version as number);
        expect(seen).toBe(before.get(device)?.seen as number);
      }
      const logs = await sql<{ log_id: string; n: number }[]>`
        SELECT log_id, sum(watermark + 1)::int AS n FROM watermarks GROUP BY log_id`;
      expect(logs.map(({ n }) => n > 0)).toEqual([true, true]);

      expect(await moved.stop()).toBe(0);
      const ends = await kafka.admin.fetchTopicOffsets(topic);
      const written = ends.reduce((sum, { high }) => sum + Number(high), 0);
      await kafka.admin.resetOffsets({ groupId, topic, earliest: true });
      const sent = heard.length;
      await moved.restart();
      await eventually(
        'all was read again',
        async () => {
          const answer = await query(moved.graphqlUrl, '{ ingest { lag counters { records } } }');
          return answer.ingest.lag === 0 && answer.ingest.counters.records >= written;
        },
        TIMEOUT_MS,
      );
      await fleet.expectStoredOnce(sql);
      expect(heard).toHaveLength(sent);
      await fleet.sendRounds(20);
      await fleet.expectStoredOnce(sql);
      await fleet.expectHeard(heard);
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(noKafka)('a topic that is not what it was', () => {
  const DEVICES = Array.from({ length: 12 }, (_, n) => `d${n}`);
  const PARTITIONS = 3;
  let stage: KafkaStage;
  let sent = 0;
  beforeEach(async () => {
    stage = await kafkaStage({ partitions: PARTITIONS });
    sent = 0;
    await stage.db.sql`
      INSERT INTO user_configs (user_id, rules) VALUES ('ann', ${stage.db.sql.json([HOT] as never)})`;
  }, TIMEOUT_MS);
  afterEach(() => stage.close(), TIMEOUT_MS);

  async function sendRounds(count: number, temperature: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const seq = sent++;
      const at = seq / 10;
      await stage.log.append(DEVICES.map((device) => message({ device, at, seq, temperature })));
    }
  }

  async function expectTransitions(...transitions: string[]): Promise<void> {
    for (const device of DEVICES) expect(await stage.events(device)).toEqual(transitions);
  }

  /** Made anew under its name, with the same partitions. */
  async function recreate(): Promise<void> {
    const { kafka, topic } = stage.log;
    const { admin } = kafka;
    await admin.deleteTopics({ topics: [topic] });
    const topics = [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }];
    await eventually('the new topic', () =>
      admin.createTopics({ topics }).then(
        (created) => created,
        () => false,
      ),
    );
  }

  test(
    'recreated, and grown past the old watermark while nobody read: all of it is new',
    async () => {
      const one = await stage.start();
      await sendRounds(5, 20);
      await sendRounds(5, 90);
      await storedIn(stage, sent * DEVICES.length, [one]);
      await one.stop();
      await recreate();
      await sendRounds(5, 90);
      await sendRounds(20, 20);
      const two = await stage.start();
      await storedIn(stage, sent * DEVICES.length, [two]);
      await expectTransitions('FIRED hot @ 5', 'RESOLVED hot @ 15');
      expect(two.engine.status().counters.replay).toBe(0);
      expect(two.lines.join('')).toContain('a new log under the old name');
    },
    TIMEOUT_MS,
  );

  test(
    'more partitions: devices move with their state, and open episodes resolve once',
    async () => {
      const [one, two] = [await stage.start(), await stage.start()];
      await sendRounds(5, 20);
      await sendRounds(5, 90);
      await storedIn(stage, sent * DEVICES.length, [one, two]);
      const { kafka, topic } = stage.log;
      await kafka.admin.createPartitions({ topicPartitions: [{ topic, count: 8 }] });
      const running = () =>
        [one, two].flatMap(({ engine }) =>
          engine.status().lanes.filter(({ state }) => state === 'RUNNING'),
        );
      await eventually('lanes for all', () => running().length === 8, 30_000);
      const placed = () => stage.db.sql<{ device_id: string; partition: number }[]>`
        SELECT device_id, partition FROM device_state ORDER BY device_id`;
      const before = await placed();
      // The producer hears of them, too.
      await eventually('a device has moved', async () => {
        await sendRounds(1, 90);
        return (await placed()).some(({ partition }, n) => partition !== before[n]?.partition);
      });
      const resolvedAt = sent;
      await sendRounds(5, 20);
      await storedIn(stage, sent * DEVICES.length, [one, two]);
      await expectTransitions('FIRED hot @ 5', `RESOLVED hot @ ${resolvedAt}`);
      expect(await stage.count('raw_telemetry')).toBe(sent * DEVICES.length);
    },
    TIMEOUT_MS,
  );

  test(
    'one device in every partition, without keys: lanes race for its state, and all is stored once',
    async () => {
      const replicas = [await stage.start(), await stage.start()];
      const rounds = 600;
      for (let seq = 0; seq < rounds; seq += 30) {
        const messages = Array.from({ length: 30 }, (_, n) => {
          const temperature = Math.floor((seq + n) / 10) % 2 === 1 ? 90 : 20;
          return { n, ...message({ device: 'd0', at: (seq + n) / 10, seq: seq + n, temperature }) };
        });
        await stage.log.producer.send({
          topic: stage.log.topic,
          messages: messages.map(({ n, topic, value }) => ({
            key: null,
            value: Buffer.from(value),
            headers: { topic },
            partition: n % PARTITIONS,
          })),
        });
      }
      await storedIn(stage, rounds, replicas);
      expect(await stage.count('raw_telemetry')).toBe(rounds);
      expect(await stage.count('dead_letters')).toBe(0);
      // What is late by then is not evaluated; what is, fires and resolves by turns.
      const types = (await stage.events('d0')).map((event) => event.split(' ')[0]);
      expect(types.length).toBeGreaterThan(0);
      expect(types).toEqual(types.map((_, n) => (n % 2 === 0 ? 'FIRED' : 'RESOLVED')));
      expect(await stage.count('alerts')).toBe(Math.ceil(types.length / 2));
      const rewinds = replicas.map(({ engine }) => engine.status().counters.rewinds);
      expect(Math.max(...rewinds)).toBeGreaterThan(0);
      const lanes = replicas.flatMap(({ engine }) => engine.status().lanes);
      expect(lanes.map(({ state }) => state)).toEqual(lanes.map(() => 'RUNNING'));
    },
    TIMEOUT_MS,
  );
});
