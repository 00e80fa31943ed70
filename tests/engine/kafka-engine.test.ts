import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { noKafka, noKafkaServer } from '../support/kafka.ts';
import { eventually } from '../support/process.ts';
import { HOT, message } from './engine-stage.ts';
import { type KafkaStage, kafkaStage, type Replica, storedIn } from './kafka-stage.ts';

const DEVICES = Array.from({ length: 12 }, (_, i) => `d${i}`);

describe.skipIf(noKafka)('the engine on Kafka', () => {
  let stage: KafkaStage;
  let sent = 0;
  beforeEach(async () => {
    stage = await kafkaStage({ partitions: 6 });
    sent = 0;
    await stage.db.sql`
      INSERT INTO user_configs (user_id, rules) VALUES ('ann', ${stage.db.sql.json([HOT] as never)})`;
  }, 60_000);
  afterEach(() => stage.close(), 60_000);

  /** One reading of each device: hot for ten, cold for ten. */
  async function sendRound(): Promise<void> {
    const seq = sent;
    const temperature = Math.floor(seq / 10) % 2 === 1 ? 90 : 20;
    const messages = DEVICES.map((device) => message({ device, at: seq / 10, seq, temperature }));
    while (
      !(await stage.log.append(messages).then(
        () => true,
        () => false,
      ))
    )
      await Bun.sleep(50);
    sent++;
  }

  /** Sends until `what` has happened, and some more. */
  async function sendDuring(what: Promise<unknown>): Promise<void> {
    let going = true;
    const done = what.finally(() => {
      going = false;
    });
    while (going) await sendRound();
    await done;
    for (let i = 0; i < 20; i++) await sendRound();
  }

  const transitions = () =>
    Array.from(
      { length: Math.ceil(sent / 10) - 1 },
      (_, n) => `${n % 2 === 0 ? 'FIRED' : 'RESOLVED'} hot @ ${(n + 1) * 10}`,
    );

  async function expectOnce(replicas: Replica[]): Promise<void> {
    await storedIn(stage, sent * DEVICES.length, replicas);
    expect(await stage.count('raw_telemetry')).toBe(sent * DEVICES.length);
    expect(await stage.count('dead_letters')).toBe(0);
    for (const device of DEVICES) expect(await stage.events(device)).toEqual(transitions());
  }

  const lanesOf = ({ engine }: Replica) =>
    engine.status().lanes.filter(({ state }) => state === 'RUNNING').length;

  test('replicas that come and go under load: stored once, alerted once', async () => {
    const one = await stage.start();
    await sendDuring(storedIn(stage, 200, [one]));
    for (let round = 0; round < 2; round++) {
      const two = await stage.start();
      await sendDuring(eventually('shared', () => lanesOf(one) === 3 && lanesOf(two) === 3));
      await sendDuring(two.stop());
      await sendDuring(eventually('taken back', () => lanesOf(one) === 6));
    }
    await expectOnce([one]);
    expect(one.engine.status().counters.gaps).toBe(0);
    expect(one.engine.status().lanes.map(({ state }) => state)).toEqual(Array(6).fill('RUNNING'));
  }, 120_000);

  test.skipIf(noKafkaServer)(
    'a broker killed under load: stored once, alerted once',
    async () => {
      const [one, two] = [await stage.start(), await stage.start()];
      await sendDuring(storedIn(stage, 200, [one, two]));
      const { server } = stage.log.kafka;
      await sendDuring(Promise.resolve(server?.stop('SIGKILL')).then(() => server?.start()));
      await expectOnce([one, two]);
    },
    120_000,
  );

  test('offsets that are reset replay: nothing is stored twice, no rule fires again', async () => {
    const one = await stage.start();
    for (let i = 0; i < 60; i++) await sendRound();
    await expectOnce([one]);
    await one.stop();
    await stage.log.resetGroup(0);
    const two = await stage.start();
    const replayed = () => two.engine.status().counters.replay;
    await eventually('the replay', () => replayed() === sent * DEVICES.length, 20_000);
    for (let i = 0; i < 20; i++) await sendRound();
    await expectOnce([two]);
  }, 60_000);

  test('records that expired unread are a gap, logged and counted', async () => {
    const one = await stage.start();
    for (let i = 0; i < 20; i++) await sendRound();
    await expectOnce([one]);
    await one.stop();
    const { kafka, topic } = stage.log;
    const ends = await kafka.admin.fetchTopicOffsets(topic);
    const { partition, high } = ends.find((end) => Number(end.high) > 0) ?? {};
    await stage.log.producer.send({
      topic,
      messages: ['a', 'b', 'c'].map((value) => ({ value, partition })),
    });
    await kafka.expire(topic, partition as number, Number(high) + 2);
    const two = await stage.start();
    await eventually('the rest', async () => (await stage.count('dead_letters')) === 1);
    expect(two.engine.status().counters.gaps).toBe(1);
    expect(two.lines.join('')).toContain('no longer in the log');
  }, 60_000);

  test('a topic made anew under its name is a new log', async () => {
    const one = await stage.start();
    for (let i = 0; i < 20; i++) await sendRound();
    await expectOnce([one]);
    const { kafka, topic } = stage.log;
    await kafka.admin.deleteTopics({ topics: [topic] });
    await eventually('the new topic', () =>
      kafka.admin.createTopics({
        waitForLeaders: true,
        topics: [{ topic, numPartitions: 6, replicationFactor: 1 }],
      }),
    );
    for (let i = 0; i < 10; i++) await sendRound();
    await expectOnce([one]);
    expect(one.lines.join('')).toContain('a new log under the old name');
  }, 60_000);

  test('partitions added under load: a device that moves is handled in order', async () => {
    const one = await stage.start();
    for (let i = 0; i < 30; i++) await sendRound();
    const { kafka, topic } = stage.log;
    await kafka.admin.createPartitions({ topicPartitions: [{ topic, count: 9 }] });
    await sendDuring(eventually('new lanes', () => lanesOf(one) === 9, 20_000));
    await storedIn(stage, sent * DEVICES.length, [one]);
    expect(await stage.count('raw_telemetry')).toBe(sent * DEVICES.length);
  }, 60_000);
});
