import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes } from 'kafkajs';
import { StartError } from '../../../src/domain/start-error.ts';
import { createKafkaSource } from '../../../src/engine/sources/kafka-source.ts';
import { noKafkaServer } from '../../support/kafka.ts';
import { SASL_USERS } from '../../support/kafka-server.ts';
import { type KafkaLog, kafkaLog, logger } from './kafka-log.ts';

test('a broker that does not answer: the start ends, health says why, and it closes', async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const settings = { brokers: [`127.0.0.1:${port}`] };
  const source = createKafkaSource({ settings, logId: 'x', topic: 't', groupId: 'g', logger });
  try {
    const startedMs = performance.now();
    await source.start(() => {});
    expect(performance.now() - startedMs).toBeLessThan(8_000);
    expect(source.health()).toEqual({
      ok: false,
      reason: expect.stringContaining('not in the Kafka group g'),
    });
    await source.close();
    expect(performance.now() - startedMs).toBeLessThan(16_000);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}, 30_000);

describe.skipIf(noKafkaServer)('starting to read Kafka', () => {
  let log: KafkaLog;
  beforeEach(async () => {
    log = await kafkaLog({ partitions: 2 });
  }, 60_000);
  afterEach(() => log.close(), 30_000);

  test.each([
    [AclResourceTypes.GROUP, 'KAFKA_GROUP_ID: the group', 'grant Read on it'],
    [AclResourceTypes.TOPIC, 'KAFKA_TOPIC: the topic', 'grant Read and Describe on it'],
  ])(
    'rights that are missing on resource type %d end the start in one line',
    async (resourceType, what, remedy) => {
      const { kafka, topic, groupId, clusterId } = log;
      const resourceName = resourceType === AclResourceTypes.GROUP ? groupId : topic;
      await kafka.admin.createAcls({
        acl: [
          {
            resourceType,
            resourceName,
            resourcePatternType: 3,
            principal: 'User:limited',
            host: '*',
            operation: AclOperationTypes.ALL,
            permissionType: AclPermissionTypes.DENY,
          },
        ],
      });
      const settings = {
        brokers: kafka.server?.saslBrokers ?? [],
        sasl: { mechanism: 'plain' as const, username: 'limited', password: SASL_USERS.limited },
      };
      const source = createKafkaSource({ settings, logId: clusterId, topic, groupId, logger });
      try {
        const error = await source.start(() => {}).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(StartError);
        expect((error as Error).message).toStartWith(`${what} ${resourceName} is refused`);
        expect((error as Error).message).toContain(remedy);
      } finally {
        await source.close();
      }
    },
    30_000,
  );
});
