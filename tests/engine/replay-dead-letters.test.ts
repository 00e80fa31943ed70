import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createDeadLetterReplay } from '../../src/engine/replay-dead-letters.ts';
import { openKafkaAppender } from '../../src/engine/sources/kafka-appender.ts';
import { model } from '../../src/model.ts';
import { noKafka } from '../support/kafka.ts';
import { eventually } from '../support/process.ts';
import { type KafkaStage, kafkaStage } from './kafka-stage.ts';
import { logger } from './sources/kafka-log.ts';

describe.skipIf(noKafka)('a replay of dead letters', () => {
  let stage: KafkaStage;
  beforeAll(async () => {
    stage = await kafkaStage({ partitions: 2 });
  }, 120_000);
  afterAll(() => stage.close(), 60_000);

  test('with Kafka as the log they go back under their topic and key, envelopes as they were', async () => {
    const { log, db } = stage;
    const topic = 'users/ann/devices/d1/telemetry';
    const envelope = JSON.stringify({ topic, payload: '{"time":' });
    await stage.start();
    await log.append([{ topic, key: 'ann/d1', value: Buffer.from('{"time":') }]);
    await log.producer.send({ topic: log.topic, messages: [{ key: 'ann/d1', value: envelope }] });
    const stored = (count: number) =>
      eventually(
        `${count} dead letters`,
        async () => (await stage.count('dead_letters')) === count,
        60_000,
      );
    await stored(2);

    const appender = await openKafkaAppender({ settings: log.settings, topic: log.topic, logger });
    try {
      const replay = createDeadLetterReplay({ sql: db.sql, appender, model, logger });
      const result = await replay({ ids: null, reason: 'BAD_JSON', topic: null }, 'olga');
      expect(result).toEqual({ matched: 2, replayed: 2, failed: 0, problem: null, more: false });
      await stored(4);
    } finally {
      await appender.close();
    }
    const rows =
      await db.sql`SELECT topic, log_key, convert_from(payload, 'UTF8') AS payload, reason,
    replayed_by FROM dead_letters ORDER BY id`;
    const bare = { topic, log_key: 'ann/d1', reason: 'BAD_JSON' };
    expect(rows.map((row) => ({ ...row }))).toEqual([
      { ...bare, payload: '{"time":', replayed_by: 'olga' },
      { ...bare, payload: envelope, replayed_by: 'olga' },
      { ...bare, payload: '{"time":', replayed_by: null },
      { ...bare, payload: envelope, replayed_by: null },
    ]);
  }, 120_000);
});
