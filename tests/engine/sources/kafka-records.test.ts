import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { PartitionReader } from '../../../src/domain/log.ts';
import { createDecoder } from '../../../src/engine/decode.ts';
import { createKafkaClient } from '../../../src/engine/sources/kafka-client.ts';
import { model } from '../../../src/model.ts';
import { noKafka } from '../../support/kafka.ts';
import { eventually } from '../../support/process.ts';
import { follow } from './follower.ts';
import { type KafkaLog, kafkaLog, logger } from './kafka-log.ts';

const TOPIC = 'users/user_1/devices/device_1/telemetry';

describe.skipIf(noKafka)('records of Kafka', () => {
  let log: KafkaLog;
  beforeEach(async () => {
    log = await kafkaLog({ partitions: 2 });
  }, 60_000);
  afterEach(() => log.close(), 60_000);

  // The broker compresses anew what it is sent, as the topic says: its own encoders, not ours.
  test.each(['gzip', 'snappy', 'lz4', 'zstd'])(
    'compressed by %s',
    async (codec) => {
      await log.configure({ 'compression.type': codec });
      const noise = crypto.getRandomValues(new Uint8Array(60_000));
      const values = Array.from({ length: 200 }, (_, i) =>
        Buffer.concat([
          Buffer.from(`${i} ${'x'.repeat(i)}`),
          noise.subarray(0, i % 50 ? i : 60_000),
        ]),
      );
      for (const value of values) await log.append([{ topic: TOPIC, key: 'one', value }]);
      await log.append(values.map((value) => ({ topic: TOPIC, key: 'one', value })));
      const follower = await follow(log.source());
      await eventually('all read', () => follower.seen.size === 2 * values.length);
      const got = [...follower.seen.values()].map(({ value }) => Buffer.from(value));
      expect(got.every((value, i) => value.equals(values[i % 200] as Buffer))).toBe(true);
    },
    30_000,
  );

  test('both forms of a value are decoded; what has no key, topic or value is a record all the same', async () => {
    const payload = { time: Date.now(), sequence_id: 7, temperature: 21.5 };
    const json = JSON.stringify(payload);
    const key = 'user_1/device_1';
    await log.producer.send({
      topic: log.topic,
      messages: [
        { key, value: json, headers: { topic: TOPIC, trace: 'abc' } },
        { key, value: JSON.stringify({ topic: TOPIC, payload }) },
        { key: null, value: JSON.stringify({ topic: TOPIC, payload: json }) },
        { key, value: null },
        { key, value: json, headers: { topic: [TOPIC, 'another'] } },
      ],
    });
    const follower = await follow(log.source());
    await eventually('all read', () => follower.seen.size === 5);
    const decode = createDecoder(model, { maxPayloadBytes: 65_536 });
    const decoded = [...follower.seen.values()].map(decode);
    const readings = decoded.flatMap((one) => (one.ok ? [one.reading] : []));
    expect(readings).toHaveLength(4);
    for (const reading of readings) {
      expect(reading).toMatchObject({ userId: 'user_1', deviceId: 'device_1', sequenceId: 7 });
    }
    const refused = decoded.flatMap((one) => (one.ok ? [] : [one.rejection.reason]));
    expect(refused).toEqual(['BAD_JSON']);
    expect([...follower.seen.values()].filter((record) => record.key === null)).toHaveLength(1);
  }, 30_000);

  test('markers of transactions and aborted records neither arrive nor stop the reading', async () => {
    const producer = createKafkaClient(log.settings, logger).producer({
      transactionalId: log.topic,
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    const follower = await follow(log.source());
    for (const [i, ends] of ['commit', 'abort', 'abort', 'commit'].entries()) {
      const transaction = await producer.transaction();
      const messages = [{ value: `${i} ${ends}`, partition: 0 }];
      await transaction.send({ topic: log.topic, messages });
      await (ends === 'commit' ? transaction.commit() : transaction.abort());
    }
    // The offset before the end is a marker's: nothing comes of it, and the reader knows.
    const reader = follower.readers.get(0) as PartitionReader;
    const { end } = await reader.range();
    await eventually('it is past the marker', () => reader.position() === end);
    await log.producer.send({ topic: log.topic, messages: [{ value: 'last', partition: 0 }] });
    await eventually('the last', () => follower.values().includes('last'));
    expect(follower.values()).toEqual(['0 commit', '3 commit', 'last']);
    expect(follower.lost).toEqual([]);
    await producer.disconnect();
  }, 30_000);
});
