import type { Admin } from 'kafkajs';
import { canRunKafka } from './kafka-node.ts';
import { createKafkaServer, type KafkaServer } from './kafka-server.ts';
import { eventually } from './process.ts';

/** What tests of Kafka run against, shared by all files of a run. */
export interface TestKafka {
  brokers: string[];
  admin: Admin;
  /** The one broker itself, to be killed and started; null where KAFKA_BROKERS names somebody's. */
  server: KafkaServer | null;
  /** Makes a topic with a name of its own and as many replicas as the brokers have by default. */
  topic(partitions: number, config?: Record<string, string>): Promise<string>;
  /** Moves the start of a partition up, as retention does. */
  expire(topic: string, partition: number, before: number): Promise<void>;
}

const external = process.env.KAFKA_BROKERS?.split(',');

/** `describe.skipIf(noKafka)`: never under CI, where Kafka has to be there. */
export const noKafka = !external && !canRunKafka() && process.env.CI !== 'true';
/** The same for what kills the broker or needs its other listeners. */
export const noKafkaServer = !canRunKafka() && process.env.CI !== 'true';

let started: Promise<TestKafka & { close(): Promise<void> }> | undefined;
let count = 0;

/** The broker of this test run, which the first call starts (about 4 s). */
export function testKafka(): Promise<TestKafka> {
  started ??= startKafka();
  return started;
}

/** Called once at the end of the run, by preload.ts. */
export async function stopTestKafka(): Promise<void> {
  const kafka = await started?.catch(() => undefined);
  started = undefined;
  await kafka?.close();
}

/** One of one's own, to be closed; where KAFKA_BROKERS names somebody's, it is that. */
export async function startKafka(jvm?: string[]): Promise<TestKafka & { close(): Promise<void> }> {
  const server = canRunKafka() ? await createKafkaServer(jvm) : null;
  if (server === null && !external) throw new Error('no Kafka: install Java and Maven');
  try {
    await server?.start();
    return await useKafka(server?.brokers ?? external ?? [], server);
  } catch (error) {
    await server?.remove();
    throw error;
  }
}

/** For brokers of one's own: not shared, and to be closed. */
export async function useKafka(
  brokers: string[],
  server: KafkaServer | null,
): Promise<TestKafka & { close(): Promise<void> }> {
  // kafkajs says so on its first client, whatever the log level.
  process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1';
  // Not at the top: preload.ts loads this file in every run.
  const { Kafka, logLevel } = await import('kafkajs');
  const kafka = new Kafka({
    clientId: 'test',
    brokers,
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 40 },
  });
  const admin = kafka.admin();
  await admin.connect();
  const made: string[] = [];
  return {
    brokers,
    admin,
    server,
    async topic(numPartitions: number, config: Record<string, string> = {}) {
      const topic = `test-${process.pid}-${++count}`;
      const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
      await admin.createTopics({
        // kafkajs' own wait fails where the broker doesn't know the topic yet.
        waitForLeaders: false,
        topics: [{ topic, numPartitions, replicationFactor: -1, configEntries }],
      });
      // All of it, with leaders that answer: a group that sees it grow begins again.
      await eventually('the topic is there', () =>
        admin.fetchTopicOffsets(topic).then(
          (offsets) => offsets.length === numPartitions,
          () => false,
        ),
      );
      made.push(topic);
      return topic;
    },
    async expire(topic: string, partition: number, before: number) {
      await admin.deleteTopicRecords({
        topic,
        partitions: [{ partition, offset: String(before) }],
      });
      await eventually('the records gone', async () => {
        const offsets = await admin.fetchTopicOffsets(topic);
        return Number(offsets.find((one) => one.partition === partition)?.low) >= before;
      });
    },
    async close() {
      // On a broker of our own nothing needs tidying: its folder goes.
      if (server === null) await admin.deleteTopics({ topics: made }).catch(() => {});
      await admin.disconnect().catch(() => {});
      await server?.remove();
    },
  };
}
