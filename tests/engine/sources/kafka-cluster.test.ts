import { beforeAll, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  ConfigResourceTypes,
} from 'kafkajs';
import { StartError } from '../../../src/domain/start-error.ts';
import { openKafkaAppender } from '../../../src/engine/sources/kafka-appender.ts';
import type { KafkaSettings, SaslMechanism } from '../../../src/engine/sources/kafka-client.ts';
import { prepareKafka, type TopicSettings } from '../../../src/engine/sources/kafka-cluster.ts';
import { createKafkaSource } from '../../../src/engine/sources/kafka-source.ts';
import { noKafkaServer, type TestKafka, testKafka } from '../../support/kafka.ts';
import { type KafkaServer, SASL_USERS } from '../../support/kafka-server.ts';
import { eventually } from '../../support/process.ts';
import { follow } from './follower.ts';
import { kafkaLog, logger } from './kafka-log.ts';

const LIMIT_MS = 30_000;

describe.skipIf(noKafkaServer)('reaching Kafka at the start', () => {
  let kafka: TestKafka;
  let server: KafkaServer;
  let count = 0;
  beforeAll(async () => {
    kafka = await testKafka();
    server = kafka.server as KafkaServer;
  }, 60_000);

  const fresh = (more: Partial<TopicSettings> = {}): TopicSettings => ({
    topic: `cluster-${process.pid}-${++count}`,
    partitions: 5,
    replication: null,
    ...more,
  });
  const prepare = (settings: Partial<KafkaSettings>, topics: TopicSettings[] = []) =>
    prepareKafka({ brokers: kafka.brokers, ...settings }, topics, logger);
  const login = (mechanism: SaslMechanism, user: keyof typeof SASL_USERS = 'device') => ({
    brokers: server.saslBrokers,
    sasl: { mechanism, username: user, password: SASL_USERS[user] },
  });

  async function faultOf(settings: Partial<KafkaSettings>, topics: TopicSettings[] = []) {
    const error = await prepare(settings, topics).then(
      () => null,
      (reason) => reason,
    );
    expect(error).toBeInstanceOf(StartError);
    return (error as StartError).message;
  }

  test(
    'processes that start together make a topic once, and each can use it',
    async () => {
      for (let round = 0; round < 5; round++) {
        const wanted = fresh({ partitions: 50 });
        const start = async () => {
          const { created } = await prepare({}, [wanted]);
          const { topic } = wanted;
          const appender = await openKafkaAppender({ settings: kafka, topic, logger });
          expect(appender.partitions()).toBe(50);
          await appender.close();
          return created.length;
        };
        const created = await Promise.all(Array.from({ length: 8 }, start));
        expect(created.reduce((sum, count) => sum + count)).toBe(1);
      }
    },
    LIMIT_MS,
  );

  test(
    'makes the topics that are missing, as asked, and leaves those that are there',
    async () => {
      const [one, two] = [fresh(), fresh({ partitions: 1, replication: 1 })];
      const found = await prepare({}, [one, two]);
      expect(found.clusterId).toBe((await kafka.admin.describeCluster()).clusterId);
      expect(found.created).toEqual([one.topic, two.topic]);
      const again = await prepare({}, [{ ...one, partitions: 7 }, two]);
      expect(again.created).toEqual([]);
      const { topics } = await kafka.admin.fetchTopicMetadata({ topics: [one.topic, two.topic] });
      const counts = new Map(topics.map(({ name, partitions }) => [name, partitions.length]));
      expect([one, two].map(({ topic }) => counts.get(topic))).toEqual([5, 1]);
      const { resources } = await kafka.admin.describeConfigs({
        includeSynonyms: false,
        resources: [
          {
            type: ConfigResourceTypes.TOPIC,
            name: one.topic,
            configNames: ['message.timestamp.type'],
          },
        ],
      });
      expect(resources[0]?.configEntries[0]?.configValue).toBe('LogAppendTime');
    },
    LIMIT_MS,
  );

  test.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)(
    'by SASL %s',
    async (mechanism) => {
      expect((await prepare(login(mechanism))).clusterId).not.toBe('');
    },
    LIMIT_MS,
  );

  test(
    'reads by SASL',
    async () => {
      const log = await kafkaLog({ partitions: 1 });
      const source = createKafkaSource({
        settings: login('scram-sha-512'),
        logId: log.clusterId,
        topic: log.topic,
        groupId: log.groupId,
        logger,
      });
      const follower = await follow(source);
      await log.append([{ topic: 't', key: 'k', value: Buffer.from('one') }]);
      await eventually('the record', () => follower.seen.size === 1);
      await source.close();
      await log.close();
    },
    LIMIT_MS,
  );

  test(
    'by TLS, with the authority or without checking it',
    async () => {
      const brokers = server.tlsBrokers;
      await prepare({ brokers, tls: { ca: readFileSync(server.caFile, 'utf8'), verify: true } });
      await prepare({ brokers, tls: { verify: false } });
    },
    LIMIT_MS,
  );

  test(
    'nobody listens',
    async () => {
      const brokers = [`127.0.0.1:${await unusedPort()}`];
      expect(await faultOf({ brokers })).toBe(
        `KAFKA_BROKERS ${brokers} can't be reached (connect ECONNREFUSED ${brokers}): ` +
          'start the broker, or correct the address',
      );
      const message = await faultOf({ brokers: ['no-such-host.invalid:9092'] });
      expect(message).toStartWith(
        "KAFKA_BROKERS no-such-host.invalid:9092 can't be reached (getaddr",
      );
    },
    LIMIT_MS,
  );

  test(
    'a wrong password, and a login where none is taken or where one is needed',
    async () => {
      const right = login('scram-sha-256');
      const sasl = { ...right.sasl, password: 'wrong' };
      const wrong = await faultOf({ ...right, sasl });
      expect(wrong).toStartWith(
        `KAFKA_SASL_USERNAME: ${server.saslBrokers} refuses "device" (SASL`,
      );
      expect(wrong).not.toContain('"wrong"');
      expect(await faultOf({ sasl })).toStartWith(
        `KAFKA_SASL_MECHANISM: ${kafka.brokers} takes no scram-sha-256 on this port`,
      );
      expect(await faultOf({ brokers: server.saslBrokers })).toBe(
        `KAFKA_BROKERS ${server.saslBrokers} closes the connection: ` +
          'it may want TLS (KAFKA_TLS) or a login (KAFKA_SASL_MECHANISM)',
      );
    },
    LIMIT_MS,
  );

  test(
    'TLS on a plain port, none on a TLS port, and an authority nobody knows',
    async () => {
      expect(await faultOf({ tls: { verify: false } })).toStartWith(
        `KAFKA_BROKERS ${kafka.brokers} speaks no TLS on this port`,
      );
      const brokers = server.tlsBrokers;
      expect(await faultOf({ brokers })).toContain('it may want TLS (KAFKA_TLS)');
      expect(await faultOf({ brokers, tls: { verify: true } })).toStartWith(
        `KAFKA_BROKERS ${brokers} shows a certificate that is not trusted (self signed certificate)`,
      );
    },
    LIMIT_MS,
  );

  test(
    'a topic that is missing and may not be made',
    async () => {
      const settings = login('plain', 'limited');
      const { topic } = fresh();
      for (const resourceType of [AclResourceTypes.CLUSTER, AclResourceTypes.TOPIC]) {
        await kafka.admin.createAcls({
          acl: [
            {
              resourceType,
              resourceName: resourceType === AclResourceTypes.TOPIC ? topic : 'kafka-cluster',
              resourcePatternType: 3,
              principal: 'User:limited',
              host: '*',
              operation: AclOperationTypes.CREATE,
              permissionType: AclPermissionTypes.DENY,
            },
          ],
        });
      }
      expect(await faultOf(settings, [fresh({ topic, partitions: 12 })])).toBe(
        `the Kafka topic ${topic} is missing or hidden, and this user may not create it: ` +
          'create it with 12 partitions, or grant Describe and Create on it',
      );
    },
    LIMIT_MS,
  );

  test(
    'more replicas than brokers',
    async () => {
      expect(await faultOf({}, [fresh({ replication: 3 })])).toMatch(
        /^KAFKA_REPLICATION: the topic cluster-\S+ can't have 3 replicas .*at most the number of brokers$/,
      );
    },
    LIMIT_MS,
  );
});

async function unusedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  if (!server.listening) await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
