import { ConfigResourceTypes, Partitioners, type Producer } from 'kafkajs';
import pino, { type Logger } from 'pino';
import type { LogMessage, Source } from '../../../src/domain/log.ts';
import { createKafkaClient, type KafkaSettings } from '../../../src/engine/sources/kafka-client.ts';
import { createKafkaSource } from '../../../src/engine/sources/kafka-source.ts';
import { type TestKafka, testKafka } from '../../support/kafka.ts';

/** A topic of its own for one test, a group over it, and a producer that knows nothing of ours. */
export interface KafkaLog {
  kafka: TestKafka;
  settings: KafkaSettings;
  clusterId: string;
  topic: string;
  groupId: string;
  producer: Producer;
  /** Another source of the group; closed by `close`. */
  source(options?: { metadataMaxAgeMs?: number; logger?: Logger }): Source;
  append(messages: LogMessage[]): Promise<void>;
  /** Changes settings of the topic. */
  configure(settings: Record<string, string>): Promise<void>;
  /** Of the first record of the topic, once there is one. */
  firstHeaders(): Promise<Record<string, string>>;
  /** As `kafka-consumer-groups --reset-offsets` does it; the group must have no members. */
  resetGroup(offset: number): Promise<void>;
  close(): Promise<void>;
}

export const logger = pino({ level: process.env.TEST_LOG ?? 'silent' });

/** @param options.kafka other than the shared one */
export async function kafkaLog(options: {
  partitions: number;
  kafka?: TestKafka;
}): Promise<KafkaLog> {
  const kafka = options.kafka ?? (await testKafka());
  const settings: KafkaSettings = { brokers: kafka.brokers };
  const topic = await kafka.topic(options.partitions, {
    'message.timestamp.type': 'LogAppendTime',
  });
  const groupId = `group-${topic}`;
  const { clusterId } = await kafka.admin.describeCluster();
  const producer = createKafkaClient(settings, logger).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    metadataMaxAge: 1_000,
  });
  await producer.connect();
  const sources: Source[] = [];
  return {
    kafka,
    settings,
    clusterId,
    topic,
    groupId,
    producer,
    source(more = {}) {
      const source = createKafkaSource({
        settings,
        logId: clusterId,
        topic,
        groupId,
        logger,
        ...more,
      });
      sources.push(source);
      return source;
    },
    async append(messages) {
      await producer.send({
        topic,
        acks: -1,
        messages: messages.map(({ key, value, topic: mqttTopic }) => ({
          key,
          value: Buffer.from(value),
          headers: { topic: mqttTopic },
        })),
      });
    },
    async configure(changes) {
      const configEntries = Object.entries(changes).map(([name, value]) => ({ name, value }));
      await kafka.admin.alterConfigs({
        validateOnly: false,
        resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }],
      });
    },
    async firstHeaders() {
      const consumer = createKafkaClient(settings, logger).consumer({
        groupId: `${groupId}-headers`,
        maxWaitTimeInMs: 100,
      });
      const found = Promise.withResolvers<Record<string, string>>();
      await consumer.connect();
      await consumer.subscribe({ topic, fromBeginning: true });
      await consumer.run({
        async eachMessage({ message }) {
          const headers = Object.entries(message.headers ?? {});
          found.resolve(Object.fromEntries(headers.map(([name, value]) => [name, `${value}`])));
        },
      });
      const headers = await found.promise;
      await consumer.disconnect();
      return headers;
    },
    async resetGroup(offset) {
      const { partitions } = options;
      await kafka.admin.setOffsets({
        groupId,
        topic,
        partitions: Array.from({ length: partitions }, (_, partition) => ({
          partition,
          offset: String(offset),
        })),
      });
    },
    async close() {
      await Promise.all(sources.map((source) => source.close()));
      await producer.disconnect();
    },
  };
}
