import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import type { Source } from '../src/domain/log.ts';
import { openEmbeddedLog } from '../src/engine/sources/embedded-log.ts';
import { createEmbeddedSource } from '../src/engine/sources/embedded-source.ts';
import { openKafkaAppender } from '../src/engine/sources/kafka-appender.ts';
import { createKafkaSource } from '../src/engine/sources/kafka-source.ts';
import { noKafka, testKafka } from '../tests/support/kafka.ts';
import { logger } from './database.ts';
import { createPlainWriter } from './plain-writer.ts';
import type { BenchRecord } from './workload.ts';

export const PARTITIONS = 4;

/** A log that holds a workload, to be read from its beginning as often as wanted. */
export interface FilledLog {
  /** Of a group of its own. */
  source(): Source;
  /** The bare loop over it. @returns records per second */
  plain(url: string, options: PlainOptions): Promise<number>;
  close(): Promise<void>;
}

export interface PlainOptions {
  records: number;
  /** Whether a key may come twice, on which COPY alone fails. */
  doubles: boolean;
}

/** For the rows that need one. */
export function noKafkaNote(): string | null {
  return noKafka ? 'no Kafka here: it takes Java and Maven, or KAFKA_BROKERS' : null;
}

export type LogKind = 'embedded' | 'Kafka';

/** What a plain loop takes at a time. kafkajs decides by bytes: here about as much. */
const PLAIN_RECORDS = 5_000;
const FILL_AT_ONCE = 20_000;

let groups = 0;
const newGroup = () => `bench-${process.pid}-${++groups}`;

export async function fillLog(
  kind: LogKind,
  folder: string,
  records: readonly BenchRecord[],
): Promise<FilledLog> {
  return kind === 'Kafka' ? await fillKafka(records) : await fillEmbedded(folder, records);
}

async function fillEmbedded(folder: string, records: readonly BenchRecord[]): Promise<FilledLog> {
  const file = join(folder, `${newGroup()}.sqlite`);
  const options = { file, topic: 'iot-stream', partitions: PARTITIONS, logger };
  const log = await openEmbeddedLog(options);
  // As long as nobody has committed, nothing is dropped.
  const detach = log.attach('keeps');
  await appendAll(log, records);
  return {
    source: () => createEmbeddedSource({ log, groupId: newGroup() }),
    async plain(url, { records: total, doubles }) {
      const writer = createPlainWriter(url, { doubles, connections: PARTITIONS });
      const groupId = newGroup();
      const started = performance.now();
      const readAll = async (partition: number) => {
        for (let from = 0; ; ) {
          const read = log.read(partition, from, PLAIN_RECORDS);
          const last = read.at(-1);
          if (last === undefined) return;
          await writer.write(read.map(({ topic, value }) => ({ topic: topic ?? '', value })));
          from = last.offset + 1;
          log.commit({ groupId, partition, next: from });
        }
      };
      await Promise.all(Array.from({ length: PARTITIONS }, (_, partition) => readAll(partition)));
      const seconds = (performance.now() - started) / 1_000;
      await writer.close();
      return total / seconds;
    },
    async close() {
      detach();
      await log.close();
    },
  };
}

async function fillKafka(records: readonly BenchRecord[]): Promise<FilledLog> {
  const { brokers, admin, topic: makeTopic } = await testKafka();
  const topic = await makeTopic(PARTITIONS, { 'message.timestamp.type': 'LogAppendTime' });
  const { clusterId } = await admin.describeCluster();
  const settings = { brokers };
  const appender = await openKafkaAppender({ settings, topic, logger });
  await appendAll(appender, records);
  await appender.close();
  return {
    source: () =>
      createKafkaSource({ settings, logId: clusterId, topic, groupId: newGroup(), logger }),
    plain: (url, options) => plainKafka({ ...options, url, brokers, topic }),
    // A broker of our own goes with its folder; anybody else's topic is deleted by stopTestKafka.
    close: async () => {},
  };
}

async function appendAll(
  log: { append(record: BenchRecord): Promise<void> },
  records: readonly BenchRecord[],
): Promise<void> {
  for (let i = 0; i < records.length; i += FILL_AT_ONCE) {
    await Promise.all(records.slice(i, i + FILL_AT_ONCE).map((record) => log.append(record)));
  }
}

/** kafkajs as its documentation shows it, timed from when the group has given it its partitions. */
async function plainKafka(
  options: PlainOptions & { url: string; brokers: string[]; topic: string },
): Promise<number> {
  const { url, brokers, topic, doubles } = options;
  const writer = createPlainWriter(url, { doubles, connections: PARTITIONS });
  const consumer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).consumer({
    groupId: newGroup(),
  });
  const done = Promise.withResolvers<void>();
  let started = 0;
  let left = options.records;
  consumer.on(consumer.events.GROUP_JOIN, () => {
    started = performance.now();
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => done.reject(payload.error));
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    partitionsConsumedConcurrently: PARTITIONS,
    async eachBatch({ batch: { messages } }) {
      await writer.write(
        messages.map(({ headers, value }) => ({
          topic: `${headers?.topic}`,
          value: value as Buffer,
        })),
      );
      left -= messages.length;
      if (left === 0) done.resolve();
    },
  });
  await done.promise;
  const seconds = (performance.now() - started) / 1_000;
  await consumer.disconnect();
  await writer.close();
  return options.records / seconds;
}
