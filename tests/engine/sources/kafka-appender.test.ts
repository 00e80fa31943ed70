import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { type LogMessage, MESSAGE_TOO_LARGE } from '../../../src/domain/log.ts';
import {
  type KafkaAppender,
  openKafkaAppender,
} from '../../../src/engine/sources/kafka-appender.ts';
import { noKafka, noKafkaServer } from '../../support/kafka.ts';
import { eventually } from '../../support/process.ts';
import { type Follower, follow } from './follower.ts';
import { type KafkaLog, kafkaLog, logger } from './kafka-log.ts';

const TOPIC = 'users/u/devices/d/telemetry';

describe.skipIf(noKafka)('Kafka as an appender', () => {
  let log: KafkaLog;
  let appender: KafkaAppender;
  beforeEach(async () => {
    log = await kafkaLog({ partitions: 4 });
    const { settings, topic } = log;
    appender = await openKafkaAppender({ settings, topic, logger, metadataMaxAgeMs: 300 });
  }, 60_000);
  afterEach(async () => {
    await appender.close();
    await log.close();
  }, 60_000);

  const message = (key: string | null, value: string, more: Partial<LogMessage> = {}) => ({
    topic: TOPIC,
    key,
    value: Buffer.from(value),
    ...more,
  });
  const valuesOf = ({ seen }: Follower, key: string | null) =>
    [...seen.values()].filter((one) => one.key === key).map((one) => `${one.value}`);

  test('keeps order and bytes, and puts a key where every client of Kafka does', async () => {
    const keys = Array.from({ length: 50 }, (_, i) => `üser ${i}/d`);
    const values = Array.from({ length: 20 }, (_, i) => `${i}`);
    await Promise.all(
      values.flatMap((value) => keys.map((key) => appender.append(message(key, value)))),
    );
    const follower = await follow(log.source());
    await eventually('all read', () => follower.seen.size === 1_000);
    for (const key of keys) expect(valuesOf(follower, key)).toEqual(values);
    await log.append(keys.map((key) => message(key, 'by kafkajs')));
    await eventually('all read', () => follower.seen.size === 1_050);
    for (const key of keys) {
      const places = [...follower.seen].filter(([, record]) => record.key === key);
      expect(new Set(places.map(([place]) => place.split('/')[0])).size).toBe(1);
    }
    expect([...follower.seen.values()].every(({ topic }) => topic === TOPIC)).toBe(true);
    expect(appender.stats()).toEqual({ appended: 1_000, queued: 0 });
  }, 30_000);

  test('a record carries trace context, and what is none is not taken for it', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await appender.append(message('k', 'a', { traceparent }));
    await appender.append(message('k', 'b'));
    const others = ['', 'x\0', `${traceparent}-more`, `${traceparent.slice(0, -2)}00`];
    await log.producer.send({
      topic: log.topic,
      messages: others.map((header) => ({
        key: 'k',
        value: 'c',
        headers: { traceparent: header },
      })),
    });
    const follower = await follow(log.source());
    await eventually('all read', () => follower.seen.size === 2 + others.length);
    const found = [...follower.seen.values()].map(({ value, traceparent: context }) => [
      `${value}`,
      context || null,
    ]);
    expect(found).toEqual([['a', traceparent], ['b', null], ...others.map(() => ['c', null])]);
  }, 30_000);

  test('a message may name its partition, and one without a key goes by its topic', async () => {
    await Promise.all(
      [0, 1, 2, 3].map((partition) => appender.append(message(null, '', { partition }))),
    );
    for (let i = 0; i < 5; i++)
      await appender.append(message(null, `${i}`, { topic: 'some/topic' }));
    const follower = await follow(log.source());
    await eventually('all read', () => follower.seen.size === 9);
    const places = (topic: string) =>
      new Set(
        [...follower.seen].filter(([, one]) => one.topic === topic).map(([place]) => place[0]),
      ).size;
    expect([places(TOPIC), places('some/topic')]).toEqual([4, 1]);
  }, 30_000);

  test('what the broker will never take is refused alone', async () => {
    const sent = Array.from({ length: 40 }, (_, i) =>
      appender.append(message('u/d', i === 17 ? 'x'.repeat(1_200_000) : `${i}`)),
    );
    const results = await Promise.allSettled(sent);
    const refused = results.flatMap((one, i) =>
      one.status === 'rejected' ? [[i, one.reason]] : [],
    );
    expect(refused).toHaveLength(1);
    expect(refused[0]).toEqual([17, expect.objectContaining({ code: MESSAGE_TOO_LARGE })]);
    expect(refused[0]?.[1].message).toContain('1200000 bytes');
    const follower = await follow(log.source());
    await eventually('all read', () => new Set(valuesOf(follower, 'u/d')).size === 39);
    await appender.append(message('u/d', 'after'));
    await eventually('the next', () => valuesOf(follower, 'u/d').includes('after'));
  }, 30_000);

  test('partitions that are added are used, also before they are noticed', async () => {
    await appender.append(message('u/d', 'before'));
    await log.kafka.admin.createPartitions({ topicPartitions: [{ topic: log.topic, count: 6 }] });
    await Promise.all([4, 5].map((partition) => appender.append(message(null, '', { partition }))));
    const offsets = await log.kafka.admin.fetchTopicOffsets(log.topic);
    const ends = offsets.filter(({ partition }) => partition > 3).map(({ high }) => high);
    expect(ends).toEqual(['1', '1']);
    await eventually('the new count', () => appender.partitions() === 6);
  }, 30_000);

  test('after close nothing is taken', async () => {
    await appender.close();
    expect(appender.append(message('u/d', 'late'))).rejects.toThrow('closing');
  }, 30_000);

  test.skipIf(noKafkaServer)(
    'waits for a broker that was killed, in order and without a loss',
    async () => {
      const keys = ['a/1', 'b/2', 'c/3', 'd/4', 'e/5'];
      let sent = 0;
      let acknowledged = 0;
      let going = true;
      const lanes = keys.map(async (key) => {
        for (let i = 0; going; i++) {
          sent++;
          const done = appender.append(message(key, `${i}`)).then(() => acknowledged++);
          // Some hundred of each key on their way, as of a bridge.
          if (i % 200 === 199) await done;
        }
      });
      await eventually('messages', () => acknowledged > 2_000);
      await log.kafka.server?.stop('SIGKILL');
      await eventually('the fault', () => !appender.health().ok);
      await log.kafka.server?.start();
      const before = acknowledged;
      await eventually('messages again', () => acknowledged > before + 1_000, 20_000);
      going = false;
      await Promise.all(lanes);
      await eventually('all acknowledged', () => acknowledged === sent);
      expect(appender.health()).toEqual({ ok: true });
      const follower = await follow(log.source());
      await eventually('all read', () => {
        const distinct = keys.map((key) => new Set(valuesOf(follower, key)).size);
        return distinct.reduce((sum, count) => sum + count, 0) === sent;
      });
      for (const key of keys) {
        // A request that was sent again repeats its messages as a whole: firsts stay in order.
        const firsts = [...new Set(valuesOf(follower, key))];
        expect(firsts).toEqual(firsts.map((_, i) => `${i}`));
      }
    },
    90_000,
  );
});
