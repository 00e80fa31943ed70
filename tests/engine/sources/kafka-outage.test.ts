import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
// @ts-expect-error: not in its types
import Broker from 'kafkajs/src/broker/index.js';
// @ts-expect-error: not in its types
import { createErrorFromCode } from 'kafkajs/src/protocol/error.js';
import pino from 'pino';
import { noKafkaServer } from '../../support/kafka.ts';
import { eventually } from '../../support/process.ts';
import { follow } from './follower.ts';
import { type KafkaLog, kafkaLog } from './kafka-log.ts';

describe.skipIf(noKafkaServer)('Kafka as a source, when the log moves', () => {
  let log: KafkaLog;
  beforeEach(async () => {
    log = await kafkaLog({ partitions: 3 });
  }, 60_000);
  afterEach(() => log.close(), 60_000);

  const message = (value: string) => ({
    topic: 'users/u/devices/d/telemetry',
    key: `u/${value}`,
    value: Buffer.from(value),
  });

  test('a broker killed under load is read again within 10 s of its return, to the last record', async () => {
    const follower = await follow(log.source());
    const acknowledged: string[] = [];
    let producing = true;
    const load = (async () => {
      for (let i = 0; producing; i++) {
        const values = Array.from({ length: 20 }, (_, j) => `${i}-${j}`);
        const sent = await log.append(values.map(message)).then(
          () => true,
          () => false,
        );
        if (sent) acknowledged.push(...values);
        else i--;
      }
    })();
    await eventually('records', () => follower.seen.size > 500);
    for (let round = 0; round < 2; round++) {
      await log.kafka.server?.stop('SIGKILL');
      await log.kafka.server?.start();
      const back = performance.now();
      await eventually('reading again', () => follower.lastMs() > back, 10_000);
      if (process.env.TEST_LOG) console.log('back after', Math.round(follower.lastMs() - back));
    }
    producing = false;
    await load;
    await eventually(
      'all read',
      () => {
        const seen = new Set(follower.values());
        return acknowledged.every((value) => seen.has(value));
      },
      20_000,
    );
    expect(acknowledged.length).toBeGreaterThan(500);
  }, 120_000);

  test('a consumer that gave up is replaced, and until then it is known as unhealthy', async () => {
    const lines: string[] = [];
    const told = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
    const source = log.source({ logger: told });
    const follower = await follow(source);
    await log.append([message('before')]);
    await eventually('the first', () => follower.seen.size === 1);
    expect(source.health?.()).toEqual({ ok: true });
    await log.kafka.server?.stop('SIGKILL');
    await eventually('giving up', () => lines.join('').includes('building another'), 30_000);
    await eventually('unhealthy', () => source.health?.().ok === false);
    await log.kafka.server?.start();
    const appended = () =>
      log.append([message('after')]).then(
        () => true,
        () => false,
      );
    await eventually('appended', appended, 20_000);
    await eventually('read', () => follower.values().includes('after'), 10_000);
    expect(source.health?.()).toEqual({ ok: true });
  }, 90_000);

  test('a position that retention has passed is lost, and taken up again at the earliest', async () => {
    await log.append(Array.from({ length: 300 }, (_, i) => ({ ...message(`${i}`), key: 'u/d' })));
    const follower = await follow(log.source());
    await eventually('all read', () => follower.seen.size === 300);
    const partition = [...follower.seen.keys()][0]?.split('/')[0];
    const reader = follower.readers.get(Number(partition));
    if (reader === undefined) throw new Error('no reader');
    await log.kafka.expire(log.topic, reader.partition, 200);
    reader.seek(50);
    await eventually('the loss noticed', () => follower.lost.length > 0);
    expect(follower.lost[0]).toContain('offset 50 is no longer in the log');
    follower.seen.clear();
    await log.append([{ ...message('after'), key: 'u/d' }]);
    await eventually('read on', () => follower.values().includes('after'));
  }, 60_000);

  test('a topic made anew under its name is read from its beginning', async () => {
    await log.append(Array.from({ length: 90 }, (_, i) => message(`old ${i}`)));
    const follower = await follow(log.source());
    await eventually('all read', () => follower.seen.size === 90);
    await log.kafka.admin.deleteTopics({ topics: [log.topic] });
    await eventually('the new topic', () =>
      log.kafka.admin.createTopics({
        waitForLeaders: true,
        topics: [{ topic: log.topic, numPartitions: 3, replicationFactor: 1 }],
      }),
    );
    const wanted = Array.from({ length: 30 }, (_, i) => `new ${i}`);
    await eventually('the producer to see it', () =>
      log.append(wanted.map(message)).then(
        () => true,
        () => false,
      ),
    );
    await eventually(
      'all read',
      () => {
        const values = follower.values();
        return wanted.every((value) => values.includes(value));
      },
      20_000,
    );
  }, 60_000);

  test('partitions that are added are read, too', async () => {
    const follower = await follow(log.source({ metadataMaxAgeMs: 300 }));
    expect(follower.readers.size).toBe(3);
    await log.kafka.admin.createPartitions({ topicPartitions: [{ topic: log.topic, count: 5 }] });
    await eventually('new readers', () => follower.readers.size === 5, 20_000);
    const wanted = Array.from({ length: 50 }, (_, i) => `${i}`);
    await log.producer.send({
      topic: log.topic,
      messages: wanted.map((value, i) => ({ value, partition: i % 5 })),
    });
    await eventually('all read', () => follower.seen.size === 50);
  }, 60_000);

  test('resetting the offsets of the group reads the records again', async () => {
    await log.append(Array.from({ length: 60 }, (_, i) => message(`${i}`)));
    const source = log.source();
    const first = await follow(source);
    await eventually('all read', () => first.seen.size === 60);
    await source.close();
    await log.resetGroup(0);
    const second = await follow(log.source());
    await eventually('all read again', () => second.seen.size === 60);
  }, 60_000);

  test('a broker that answers heartbeats but is not the coordinator for commits: joined anew', async () => {
    const follower = await follow(log.source());
    const { offsetCommit } = Broker.prototype;
    const refusedMembers = new Set<string>();
    // The first membership that commits is refused for good, as by a broker that was never told.
    Broker.prototype.offsetCommit = async function (request: { memberId: string }) {
      if (refusedMembers.size === 0) refusedMembers.add(request.memberId);
      if (refusedMembers.has(request.memberId)) throw createErrorFromCode(16);
      return offsetCommit.call(this, request);
    };
    try {
      await log.append(Array.from({ length: 60 }, (_, i) => message(`${i}`)));
      await eventually('all read', () => follower.seen.size === 60);
      const { groupId, topic } = log;
      await eventually(
        'committed',
        async () => {
          const [found] = await log.kafka.admin.fetchOffsets({ groupId, topics: [topic] });
          const committed =
            found?.partitions.map(({ offset }) => Math.max(0, Number(offset))) ?? [];
          return committed.reduce((sum, offset) => sum + offset, 0) === 60;
        },
        30_000,
      );
      expect(refusedMembers.size).toBe(1);
    } finally {
      Broker.prototype.offsetCommit = offsetCommit;
    }
  }, 60_000);

  test('two members share the partitions, and every record is read', async () => {
    const one = await follow(log.source());
    const secondSource = log.source();
    const two = await follow(secondSource);
    await eventually('shared', () => one.readers.size + two.readers.size === 3 && two.readers.size);
    const wanted = Array.from({ length: 200 }, (_, i) => `${i}`);
    await log.append(wanted.slice(0, 100).map(message));
    await eventually('all read', () => one.seen.size + two.seen.size >= 100);
    await secondSource.close();
    await eventually('taken back', () => one.readers.size === 3);
    await log.append(wanted.slice(100).map(message));
    await eventually('all read', () => {
      return new Set([...one.values(), ...two.values()]).size === 200;
    });
  }, 60_000);
});
