import { afterAll, afterEach, expect, test } from 'bun:test';
import { join } from 'node:path';
import type { IClientOptions, MqttClient } from 'mqtt';
import type { BrokerOptions } from '../../src/mqtt/broker.ts';
import { testDatabase } from '../support/postgres.ts';
import { addCases, guardOf } from './accounts.ts';
import { PASSWORD } from './acl-cases.ts';
import { Cleanup, inbox, memoryLog, recordingLogger, topicOf, until } from './helpers.ts';

const SLOW = 60_000;
const database = await testDatabase();
await addCases(database.sql);
const cleanup = new Cleanup();
afterEach(() => cleanup.end(), SLOW);
afterAll(() => database.drop());

async function start(options: Partial<BrokerOptions>) {
  const { logger, lines } = recordingLogger();
  const dataFile = options.dataFile ?? join(cleanup.folder(), 'mqtt.sqlite');
  const broker = await cleanup.broker({ ...options, logger, dataFile });
  const reasons = () => lines.map(({ fields }) => String(fields.reason)).join('\n');
  return { broker, lines, reasons, dataFile };
}

const closed = (client: MqttClient) =>
  new Promise<void>((resolve) => client.once('close', () => resolve()));

test(
  'a topic that is too long or too deep: no subscription, and the end of a publisher',
  async () => {
    const { broker, reasons } = await start({ limits: { maxTopicBytes: 64, maxTopicLevels: 5 } });
    for (const topic of [`a/${'ä'.repeat(32)}`, 'a/b/c/d/e/f']) {
      const client = await cleanup.client(broker.url);
      await client.subscribeAsync('a/b/c/d/e', { qos: 1 });
      await expect(client.subscribeAsync(topic)).rejects.toThrow();
      const ended = closed(client);
      client.publish(topic, 'x', { qos: 1 }, () => {});
      await ended;
    }
    expect(reasons()).toContain('MQTT_MAX_TOPIC_BYTES');
  },
  SLOW,
);

test(
  'subscriptions of one client, also in one packet and kept, until it gives one up',
  async () => {
    const { broker } = await start({ limits: { maxSubscriptions: 3 } });
    const client = await cleanup.client(broker.url, { clean: false, clientId: 'c' });
    await client.subscribeAsync(['s/1', 's/2'], { qos: 1 });
    const failed = await client.subscribeAsync(['s/3', 's/4', 's/5'], { qos: 1 }).catch(() => null);
    expect(failed).toBeNull();
    await expect(client.subscribeAsync('s/6')).rejects.toThrow();
    await client.subscribeAsync('s/1', { qos: 1 });
    await client.unsubscribeAsync('s/1');
    await client.subscribeAsync('s/6', { qos: 1 });
    await client.endAsync();
    const other = await cleanup.client(broker.url);
    for (let i = 1; i <= 6; i++) await other.publishAsync(`s/${i}`, 'x', { qos: 1 });
    // s/2, s/3 and s/6.
    expect(broker.stats().queuedMessages).toBe(3);
  },
  SLOW,
);

test(
  'kept sessions, of which one that is there can always come back',
  async () => {
    const { broker, reasons } = await start({ limits: { maxSessions: 2 } });
    const keep = (clientId: string) => cleanup.client(broker.url, { clean: false, clientId });
    await (await keep('a')).endAsync();
    await keep('b');
    await expect(keep('c')).rejects.toThrow('Server unavailable');
    expect(reasons()).toContain('MQTT_MAX_SESSIONS');
    await keep('a');
    await cleanup.client(broker.url, { clientId: 'c' });
  },
  SLOW,
);

test(
  'retained messages: what does not fit is delivered and not kept, also after a restart',
  async () => {
    const limits = { maxRetainedBytes: 1_000 };
    const first = await start({ limits });
    const client = await cleanup.client(first.broker.url);
    const publish = (by: MqttClient, topic: string, bytes: number, qos: 0 | 1 | 2 = 1) =>
      by.publishAsync(topic, 'x'.repeat(bytes), { qos, retain: true });
    const retained = async (url: string) => {
      const reader = await cleanup.client(url);
      const read = inbox(reader);
      await reader.subscribeAsync('#', { qos: 1 });
      const by = await cleanup.client(url);
      await by.publishAsync('last', '', { qos: 1 });
      await until('all', () => read.messages.some(({ topic }) => topic === 'last'), 20_000);
      return read.messages.filter(({ retain }) => retain).map(({ topic }) => topic);
    };
    const live = inbox(client);
    await client.subscribeAsync('r/2');
    await publish(client, 'r/1', 600);
    for (const qos of [0, 1, 2] as const) {
      await publish(client, 'r/2', 600, qos);
      await until('it is delivered', () => live.messages.length === qos + 1, 20_000);
    }
    expect(first.reasons()).toContain('MQTT_MAX_RETAINED_BYTES');
    // In place of itself, and where another one went.
    await publish(client, 'r/1', 900);
    expect(await retained(first.broker.url)).toEqual(['r/1']);
    await first.broker.close();
    const second = await start({ limits, dataFile: first.dataFile });
    const again = await cleanup.client(second.broker.url);
    await publish(again, 'r/3', 200);
    await publish(again, 'r/1', 0);
    await publish(again, 'r/4', 200);
    expect(await retained(second.broker.url)).toEqual(['r/4']);
  },
  SLOW,
);

test(
  'the rate of a connection: slowed down, then ended with a reason; our own are not',
  async () => {
    const log = memoryLog();
    const { logger } = recordingLogger();
    const guard = guardOf(database.sql, logger);
    cleanup.add(() => guard.close());
    const { broker, lines } = await start({
      ...{ guard, appender: log.appender, limits: { maxRate: 50 }, ratePatienceMs: 1_500 },
    });
    const own = await cleanup.client(broker.url, guard.own);
    await Promise.all(
      Array.from({ length: 500 }, () => own.publishAsync(topicOf('own'), 'x', { qos: 1 })),
    );
    const login: IClientOptions = { username: 'user_123', password: PASSWORD };
    const client = await cleanup.client(broker.url, login);
    const topic = 'users/user_123/devices/pump_1/telemetry';
    let isOpen = true;
    const ended = closed(client).then(() => {
      isOpen = false;
    });
    // Each waits for its answer, so that a read holds few: the limit is what slows it down.
    const push = async () => {
      while (isOpen) await Promise.race([client.publishAsync(topic, 'x', { qos: 1 }), ended]);
    };
    await Promise.all([push(), push(), push(), push()]);
    expect(own.connected).toBeTrue();
    expect(lines.some(({ message }) => message.includes('MQTT_MAX_RATE'))).toBeTrue();
    const taken = log.texts().length - 500;
    // It begins with 50 and gets 50 a second while it lasts, on whatever machine.
    expect(taken).toBeGreaterThan(50);
    const again = await cleanup.client(broker.url, login);
    await again.publishAsync(topic, 'x', { qos: 1 });
  },
  SLOW,
);
