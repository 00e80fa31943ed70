import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import {
  type KafkaAppender,
  openKafkaAppender,
} from '../../../src/engine/sources/kafka-appender.ts';
import {
  createDeadLetterSender,
  type DeadLetterSender,
} from '../../../src/engine/sources/kafka-dlq.ts';
import { noKafka, noKafkaServer } from '../../support/kafka.ts';
import { eventually } from '../../support/process.ts';
import { type KafkaStage, kafkaStage, type Replica } from '../kafka-stage.ts';
import { type Follower, follow } from './follower.ts';
import { type KafkaLog, kafkaLog, logger } from './kafka-log.ts';

describe.skipIf(noKafka)('dead letters in their topic', () => {
  let stage: KafkaStage;
  let dlq: KafkaLog;
  let appender: KafkaAppender;
  let sender: DeadLetterSender;
  let follower: Follower;

  beforeEach(async () => {
    stage = await kafkaStage({ partitions: 2 });
    dlq = await kafkaLog({ partitions: 1 });
    appender = await openKafkaAppender({ settings: dlq.settings, topic: dlq.topic, logger });
    sender = newSender();
    follower = await follow(dlq.source());
  }, 60_000);
  afterEach(async () => {
    await sender.close();
    await appender.close();
    await dlq.close();
    await stage.close();
  }, 60_000);

  const newSender = (sweepAgeMs = 60_000) =>
    createDeadLetterSender({
      sql: stage.db.sql,
      appender,
      logId: dlq.clusterId,
      logTopic: stage.log.topic,
      logger,
      sweepIntervalMs: 200,
      sweepAgeMs,
    });
  const start = (): Promise<Replica> =>
    stage.start({ poke: (partition) => sender.poke(partition) });
  const topic = 'users/ann/devices/d1/telemetry';
  const bad = (i: number) => ({ topic, key: 'ann/d1', value: Buffer.from(`not json ${i}`) });
  const published = () => stage.count('dead_letters WHERE published_at IS NOT NULL');

  test('with their bytes, key and topic, in order', async () => {
    await start();
    await stage.log.append(Array.from({ length: 250 }, (_, i) => bad(i)));
    await eventually('all copied', () => follower.seen.size === 250, 20_000);
    expect(follower.values()).toEqual(Array.from({ length: 250 }, (_, i) => `not json ${i}`));
    const [first] = follower.seen.values();
    expect(first).toMatchObject({ key: 'ann/d1', topic });
    await eventually('marked', async () => (await published()) === 250);
    expect(sender.sent()).toBe(250);
  }, 60_000);

  test('say why and where from in their headers', async () => {
    await start();
    await stage.log.append([bad(0)]);
    const headers = await dlq.firstHeaders();
    const [row] = await stage.db.sql`SELECT partition, "offset", reason, detail FROM dead_letters`;
    expect(headers).toMatchObject({
      topic,
      reason: 'BAD_JSON',
      detail: row?.detail,
      partition: String(row?.partition),
      offset: String(row?.offset),
    });
    expect(headers.arrival_time).toMatch(/^20.*Z$/);
  }, 60_000);

  test('what another replica left is swept up', async () => {
    await sender.close();
    await start();
    await stage.log.append([bad(1), bad(2)]);
    await eventually('in the table', async () => (await stage.count('dead_letters')) === 2);
    expect(await published()).toBe(0);
    sender = newSender(0);
    await eventually('copied', () => follower.seen.size === 2, 20_000);
  }, 60_000);

  test.skipIf(noKafkaServer)(
    'a broker that is away keeps none of them',
    async () => {
      await start();
      await stage.log.append([bad(1)]);
      await eventually('copied', () => follower.seen.size === 1, 20_000);
      await dlq.kafka.server?.stop('SIGKILL');
      await stage.db.sql`
      INSERT INTO dead_letters (log_id, log_topic, partition, "offset", reason, detail, payload,
        arrival_time)
      SELECT ${dlq.clusterId}, ${stage.log.topic}, 0, 1000 + n, 'BAD_JSON', 'x',
        convert_to('later ' || n, 'UTF8'), now() FROM generate_series(1, 150) n`;
      sender.poke(0);
      await eventually('the fault', () => !appender.health().ok);
      await dlq.kafka.server?.start();
      await eventually('all copied', () => new Set(follower.values()).size === 151, 30_000);
      await eventually('marked', async () => (await published()) === 151, 20_000);
    },
    90_000,
  );
});
