import { orAborted } from './domain/or-aborted.ts';
import { openKafkaAppender } from './engine/sources/kafka-appender.ts';
import type { KafkaSettings } from './engine/sources/kafka-client.ts';
import { prepareKafka } from './engine/sources/kafka-cluster.ts';
import { createDeadLetterSender } from './engine/sources/kafka-dlq.ts';
import { createKafkaSource } from './engine/sources/kafka-source.ts';
import { logFigures } from './figures.ts';
import type { Log, Surroundings } from './modes.ts';
import type { Sql } from './store/connection.ts';

const CLOSE_MS = 6_000;

/** @throws StartError */
export async function openKafkaLog(
  { config, logger, releases, signal }: Surroundings,
  sql: Sql,
  settings: KafkaSettings,
): Promise<Log> {
  const { kafkaTopic: topic, kafkaDlqTopic, kafkaReplication: replication } = config;
  const topics = [
    { topic, partitions: config.kafkaPartitions, replication },
    { topic: kafkaDlqTopic, partitions: 1, replication },
  ];
  const prepared = prepareKafka(settings, topics, logger);
  const { clusterId: logId, created } = await orAborted(signal, prepared);
  if (created.length > 0) logger.info({ created }, 'topics were missing, and are made');
  const appender = await orAborted(signal, openKafkaAppender({ settings, topic, logger }));
  releases.add('log', () => appender.close(), CLOSE_MS);
  const letters = await orAborted(
    signal,
    openKafkaAppender({ settings, topic: kafkaDlqTopic, logger }),
  );
  releases.add('dead letter topic', () => letters.close(), CLOSE_MS);
  const sender = createDeadLetterSender({ sql, appender: letters, logId, logTopic: topic, logger });
  releases.add('dead letters', () => sender.close());
  const source = createKafkaSource({
    settings,
    logId,
    topic,
    groupId: config.kafkaGroupId,
    logger,
  });
  return {
    source,
    appender,
    partitions: () => appender.partitions(),
    health() {
      const written = appender.health();
      return written.ok ? source.health() : written;
    },
    deadLetters: sender,
    figures: logFigures(() => appender.stats()),
  };
}
