import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { type Admin, Kafka, logLevel } from 'kafkajs';
import {
  type KafkaAppender,
  openKafkaAppender,
} from '../../../src/engine/sources/kafka-appender.ts';
import { noKafkaServer, type TestKafka, useKafka } from '../../support/kafka.ts';
import { type KafkaBrokers, startKafkaBrokers } from '../../support/kafka-cluster.ts';
import { eventually } from '../../support/process.ts';
import { HOT, message } from '../engine-stage.ts';
import { type KafkaStage, kafkaStage, type Replica, storedIn } from '../kafka-stage.ts';
import { logger } from './kafka-log.ts';

const PARTITIONS = 6;
const DEVICES = Array.from({ length: 12 }, (_, i) => `d${i}`);
/** Each round is a reading of every device. */
const ROUND_MS = 25;
/** Hot for so many rounds, cold for as many. */
const HALF = 20;
/** For one step of a move; idle machines need some 5 s at the most. */
const STEP_MS = 60_000;
/**
 * From the new coordinator to readings stored of every partition: 1.3 s on a busy machine. Members
 * that waited for the sessions of those they were before would need 6 s.
 */
const RESUME_MS = 5_000;
const OFFSETS_TOPIC = '__consumer_offsets';

describe.skipIf(noKafkaServer)('a group whose coordinator moves', () => {
  let cluster: KafkaBrokers;
  let kafka: TestKafka & { close(): Promise<void> };
  let stage: KafkaStage;
  let appender: KafkaAppender;
  let replicas: Replica[];
  beforeAll(async () => {
    cluster = await startKafkaBrokers();
    kafka = await useKafka(cluster.brokers, null);
  }, 180_000);
  afterAll(async () => {
    await kafka?.close();
    await cluster?.remove();
  }, 60_000);

  beforeEach(async () => {
    stage = await kafkaStage({ partitions: PARTITIONS, kafka });
    const { sql } = stage.db;
    await sql`INSERT INTO user_configs (user_id, rules) VALUES ('ann', ${sql.json([HOT] as never)})`;
    const { settings, topic } = stage.log;
    appender = await openKafkaAppender({ settings, topic, logger });
    replicas = [await stage.start(), await stage.start()];
  }, 120_000);
  afterEach(async () => {
    await appender?.close();
    await stage?.close();
  }, 60_000);

  /** By a client that has seen nothing of the brokers' past. */
  async function ask<T>(question: (admin: Admin) => Promise<T>): Promise<T> {
    const { brokers } = cluster;
    const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING, retry: { retries: 2 } }).admin();
    try {
      await admin.connect();
      return await question(admin);
    } finally {
      await admin.disconnect();
    }
  }

  /** Until the question has an answer that is neither false nor null. */
  const askUntil = <T>(what: string, question: (admin: Admin) => Promise<T>) =>
    eventually(what, () => ask(question).catch(() => null), STEP_MS);

  /** The one partition of the groups' offsets has the coordinator of all groups as its leader. */
  const coordinatorOtherThan = (before: number | null) =>
    askUntil('a coordinator', async (admin) => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [OFFSETS_TOPIC] });
      const leader = topics[0]?.partitions[0]?.leader ?? -1;
      return leader > 0 && leader !== before ? leader : null;
    });

  /** Every partition of ours and of the groups' offsets is on so many brokers, in step. */
  const inStepOn = (count: number) =>
    askUntil(`in step on ${count}`, async (admin) => {
      const topics = [stage.log.topic, OFFSETS_TOPIC];
      const found = (await admin.fetchTopicMetadata({ topics })).topics;
      return found.flatMap((one) => one.partitions).every(({ isr }) => isr.length === count);
    });

  /** The group's positions reach where the log ends now. */
  async function committedToEnd(): Promise<void> {
    const { groupId, topic } = stage.log;
    const ends = await askUntil('the ends', (admin) => admin.fetchTopicOffsets(topic));
    await askUntil('committed', async (admin) => {
      const [found] = await admin.fetchOffsets({ groupId, topics: [topic] });
      const committed = new Map(found?.partitions.map((one) => [one.partition, one.offset]));
      // None where nothing was ever logged.
      return ends.every(
        ({ partition, high }) => Math.max(0, Number(committed.get(partition))) >= Number(high),
      );
    });
  }

  /** Of the device that is furthest behind: how many of its readings are stored. */
  async function storedRounds(): Promise<number> {
    const counts = await stage.db.sql<{ n: number }[]>`
      SELECT count(*)::int AS n FROM raw_telemetry GROUP BY device_id`;
    return counts.length < DEVICES.length ? 0 : Math.min(...counts.map(({ n }) => n));
  }

  const lanes = () => replicas.flatMap(({ engine }) => engine.status().lanes);

  /** Of every device, until so many rounds are stored. @returns ms that it took */
  async function storedTo(rounds: number, withinMs = STEP_MS): Promise<number> {
    const began = performance.now();
    const what = `${rounds} rounds stored`;
    await eventually(what, async () => (await storedRounds()) >= rounds, withinMs).catch(
      async (error: Error) => {
        const has = `stored ${await storedRounds()} of ${rounds}, ${JSON.stringify(lanes())}`;
        const lines = replicas.flatMap((replica) => replica.lines.slice(-20));
        throw new Error(
          [error.message, has, JSON.stringify(appender.health()), ...lines].join('\n'),
        );
      },
    );
    return Math.round(performance.now() - began);
  }

  /** Appends rounds at a steady rate, whether or not those before were acknowledged. */
  function appendLoad() {
    const acknowledged: Promise<void>[] = [];
    let rounds = 0;
    const timer = setInterval(() => {
      const temperature = Math.floor(rounds / HALF) % 2 === 1 ? 90 : 20;
      for (const device of DEVICES) {
        const appended = appender.append(
          message({ device, at: rounds / 20, seq: rounds, temperature }),
        );
        appended.catch(() => {});
        acknowledged.push(appended);
      }
      rounds++;
    }, ROUND_MS);
    return {
      rounds: () => rounds,
      /** Rejects where one was refused. @returns how many rounds there are */
      async end(): Promise<number> {
        clearInterval(timer);
        await Promise.all(acknowledged);
        return rounds;
      },
    };
  }

  async function expectOnce(rounds: number): Promise<void> {
    await storedIn(stage, rounds * DEVICES.length, replicas);
    expect(await stage.count('raw_telemetry')).toBe(rounds * DEVICES.length);
    expect(await stage.count('dead_letters')).toBe(0);
    const transitions = Array.from(
      { length: Math.ceil(rounds / HALF) - 1 },
      (_, n) => `${n % 2 === 0 ? 'FIRED' : 'RESOLVED'} hot @ ${(n + 1) * HALF}`,
    );
    for (const device of DEVICES) expect(await stage.events(device)).toEqual(transitions);
    for (const { engine } of replicas) expect(engine.status().counters.gaps).toBe(0);
    expect(lanes().map(({ state }) => state)).toEqual(Array(PARTITIONS).fill('RUNNING'));
    await committedToEnd();
  }

  test('its broker killed under load, twice: the other two go on, all is stored and alerted once', async () => {
    const load = appendLoad();
    await storedTo(HALF);
    await inStepOn(3);
    for (let kill = 0; kill < 2; kill++) {
      const coordinator = await coordinatorOtherThan(null);
      await cluster.node(coordinator).stop('SIGKILL');
      const next = await coordinatorOtherThan(coordinator);
      await inStepOn(2);
      const resumedMs = await storedTo(load.rounds() + 1, RESUME_MS);
      const steadyMs = await storedTo(load.rounds() + 2 * HALF);
      await committedToEnd();
      if (process.env.TEST_LOG) console.log({ coordinator, next, resumedMs, steadyMs });
      await cluster.node(coordinator).start();
      await inStepOn(3);
      await storedTo(load.rounds() + HALF);
    }
    await expectOnce(await load.end());
  }, 300_000);

  test('handed over while its broker lives: the group follows', async () => {
    const load = appendLoad();
    await storedTo(HALF);
    await inStepOn(3);
    for (let round = 0; round < 2; round++) {
      const coordinator = await coordinatorOtherThan(null);
      const others = [1, 2, 3].filter((id) => id !== coordinator);
      await handOver(others);
      const next = await coordinatorOtherThan(coordinator);
      const resumedMs = await storedTo(load.rounds() + HALF);
      await committedToEnd();
      if (process.env.TEST_LOG) console.log({ coordinator, next, resumedMs });
      await handOver([...others, coordinator]);
      await inStepOn(3);
    }
    await expectOnce(await load.end());
  }, 300_000);

  /** The first of the brokers becomes the coordinator, unless one of them is. */
  async function handOver(replicas: number[]): Promise<void> {
    const partitionAssignment = [{ partition: 0, replicas }];
    await ask((admin) =>
      admin.alterPartitionReassignments({
        topics: [{ topic: OFFSETS_TOPIC, partitionAssignment }],
      }),
    );
  }
});
