import { afterEach, describe, expect, test } from 'bun:test';
import { generate } from 'mqtt-packet';
import { MESSAGE_TOO_LARGE } from '../../src/domain/log.ts';
import { noMosquitto } from '../support/mosquitto.ts';
import {
  BridgeCleanup,
  firstsByDevice,
  groupingLog,
  numbersByDevice,
  publishNumbers,
  upTo,
} from './bridge-harness.ts';
import { type LogLine, memoryLog, topicOf, until } from './helpers.ts';

const TEST_MS = 30_000;
const cleanup = new BridgeCleanup();
afterEach(() => cleanup.end(), TEST_MS);

interface BrokerKind {
  name: string;
  protocolVersion: 4 | 5;
  /** The embedded broker doesn't set DUP on what it sends again. */
  marksRepeats: boolean;
  start(): Promise<{ url: string }>;
}

const mosquitto = () => cleanup.mosquitto();
const real = { start: mosquitto, marksRepeats: true, skip: noMosquitto };
const embedded = { start: () => cleanup.broker(), marksRepeats: false, skip: false };
const brokers: (BrokerKind & { skip: boolean })[] = [
  { name: 'Mosquitto, MQTT 3.1.1', protocolVersion: 4, ...real },
  { name: 'Mosquitto, MQTT 5', protocolVersion: 5, ...real },
  { name: 'the embedded broker', protocolVersion: 4, ...embedded },
];

for (const { skip, ...kind } of brokers) {
  describe.skipIf(skip)(kind.name, () => bridgeSuite(kind));
}

function bridgeSuite({ protocolVersion, marksRepeats, start }: BrokerKind): void {
  const check = (what: string, run: () => Promise<void>) => test(what, run, TEST_MS);

  check('a message is in the log with its topic, key and bytes', async () => {
    const { url } = await start();
    const log = memoryLog();
    await cleanup.bridge({ url, protocolVersion, appender: log.appender });
    const client = await cleanup.client(url);
    const payload = Buffer.from([0, 255, 1, 254]);
    await client.publishAsync('users/ü/devices/a b/telemetry', payload, { qos: 1 });
    await client.publishAsync(topicOf('zero'), 'at QoS 0', { qos: 0 });
    await client.publishAsync(topicOf('two'), 'at QoS 2', { qos: 2 });
    await client.publishAsync('users//devices/x/telemetry', 'no user', { qos: 1 });
    await client.publishAsync('users/u/config', 'not telemetry', { qos: 1 });
    await client.publishAsync(topicOf('last'), '', { qos: 1 });
    await until('all of them', () => log.messages.length >= 5);
    expect(log.messages.map(({ topic, key }) => [topic, key])).toEqual([
      ['users/ü/devices/a b/telemetry', 'ü/a b'],
      [topicOf('zero'), 'u/zero'],
      [topicOf('two'), 'u/two'],
      ['users//devices/x/telemetry', null],
      [topicOf('last'), 'u/last'],
    ]);
    expect(payload.equals(log.messages[0]?.value ?? Buffer.alloc(0))).toBe(true);
  });

  check('what the log has not made durable comes again, what it has does not', async () => {
    const { url } = await start();
    const first = memoryLog();
    first.hold();
    const bridge = await cleanup.bridge({ url, protocolVersion, appender: first.appender });
    const client = await cleanup.client(url);
    await publishNumbers(client, { count: 20 });
    await until('20 on their way', () => first.waiting() === 20);
    expect(bridge.stats()).toMatchObject({ inFlight: 20, appended: 0 });
    await bridge.close(0);
    first.release();

    const second = memoryLog();
    const again = await cleanup.bridge({ url, protocolVersion, appender: second.appender });
    await until('20 again', () => second.messages.length === 20);
    expect(second.texts()).toEqual(upTo(20).map(String));
    if (marksRepeats) expect(again.stats().repeated).toBe(20);
    await again.close();

    const third = memoryLog();
    await cleanup.bridge({ url, protocolVersion, appender: third.appender });
    await publishNumbers(client, { from: 20, count: 1 });
    await until('the new one', () => third.messages.length > 0);
    expect(third.texts()).toEqual(['20']);
  });

  check('5,000 messages are on their way together and keep their order', async () => {
    const { url } = await start();
    const log = groupingLog();
    await cleanup.bridge({ url, protocolVersion, appender: log.appender });
    const client = await cleanup.client(url);
    await publishNumbers(client, { count: 5_000 });
    await until('all of them', () => log.messages.length >= 5_000, 20_000);
    expect(log.messages.length).toBe(5_000);
    expect(firstsByDevice(log.messages)).toEqual(numbersByDevice(5_000));
    expect(log.largestGroup()).toBeGreaterThan(20);
  });

  check('after a failed append the connection ends, and what follows it comes again', async () => {
    const { url } = await start();
    const log = memoryLog();
    const tellsOutage = ({ message }: LogLine) => message.includes('the disk is away');
    log.fail(new Error('the disk is away'), (text) => text === '30');
    const bridge = await cleanup.bridge({ url, protocolVersion, appender: log.appender });
    const client = await cleanup.client(url);
    await publishNumbers(client, { count: 100 });
    await until('the end of a connection', () => bridge.lines.some(tellsOutage));
    log.fail(null);
    await until('all in the log', () => new Set(log.texts().slice(100)).has('99'));
    expect(firstsByDevice(log.messages)).toEqual(numbersByDevice(100));
    // Nothing behind the failure was acknowledged, whether the log had it or not.
    expect(log.texts().slice(log.texts().lastIndexOf('30'))).toEqual(
      upTo(100).slice(30).map(String),
    );
  });

  check('a message that the log will never take is handed over and holds up nobody', async () => {
    const { url } = await start();
    const log = memoryLog();
    const refusal = Object.assign(new Error('too big for it'), { code: MESSAGE_TOO_LARGE });
    log.fail(refusal, (text) => text === '3');
    const options = { url, protocolVersion, appender: log.appender };
    const bridge = await cleanup.bridge({ ...options, maxPacketBytes: 100_000 });
    const client = await cleanup.client(url);
    await publishNumbers(client, { count: 6 });
    await client.publishAsync(topicOf('big'), Buffer.alloc(300_000, 'big'), { qos: 1 });
    await publishNumbers(client, { from: 6, count: 2 });
    await until('all are dealt with', () => bridge.stats().appended === 7);
    await until('both refused', () => bridge.stats().rejected === 2);
    expect(bridge.rejected.map(({ message }) => message.topic)).toEqual([
      topicOf('d3'),
      topicOf('big'),
    ]);
    const [small, big] = bridge.rejected;
    expect(small?.error).toBe(refusal);
    expect(big?.message.key).toBe('u/big');
    expect(big?.error.message).toContain('at most 100000 are taken');
    expect(Buffer.from(big?.message.value ?? []).toString()).toStartWith('bigbigbig');
    expect(bridge.stats().connects).toBe(1);
    await bridge.close();

    // Acknowledged, as the next bridge sees.
    const next = memoryLog();
    await cleanup.bridge({ ...options, appender: next.appender });
    await publishNumbers(client, { from: 8, count: 1 });
    await until('the new one', () => next.messages.length > 0);
    expect(next.texts()).toEqual(['8']);
  });

  check('close waits for what is on its way, and acknowledges it', async () => {
    const { url } = await start();
    const log = memoryLog();
    log.hold();
    const bridge = await cleanup.bridge({ url, protocolVersion, appender: log.appender });
    const client = await cleanup.client(url);
    await publishNumbers(client, { count: 5 });
    await until('5 on their way', () => log.waiting() === 5);
    const closed = bridge.close(10_000);
    log.release();
    await closed;
    expect(bridge.connected).toBe(false);
    const next = memoryLog();
    await cleanup.bridge({ url, protocolVersion, appender: next.appender });
    await publishNumbers(client, { from: 5, count: 1 });
    await until('the new one', () => next.messages.length > 0);
    expect(next.texts()).toEqual(['5']);
  });

  check('a log that stands still gets only so much, over reconnects too', async () => {
    const { url } = await start();
    const log = memoryLog();
    log.hold();
    // Its pings find out that the connection has ended, as a full bridge doesn't read.
    const limits = { maxInFlightBytes: 200_000, keepAliveS: 1 };
    const options = { url, protocolVersion, appender: log.appender, ...limits };
    const bridge = await cleanup.bridge(options);
    const client = await cleanup.client(url);
    const text = 'x'.repeat(10_000);
    const all = upTo(300).map((i) => client.publishAsync(topicOf('d'), `${i} ${text}`, { qos: 1 }));
    await until('the bridge is full', () => bridge.stats().inFlightBytes >= 200_000);
    expect(bridge.flowing).toBe(false);
    await Promise.all(all);
    // Bun reads up to 512 KiB at once.
    const bound = 200_000 + 2 ** 19;
    expect(bridge.stats().inFlightBytes).toBeLessThan(bound);
    const before = log.waiting();
    await throwOut(url, 'pulsegraph-bridge');
    await until('the bridge has seen it', () => !bridge.connected);
    // Nothing is to happen, so there is no event to wait for: three of its longest backoffs.
    await Bun.sleep(300);
    expect(log.waiting()).toBe(before);
    log.release();
    await until('all are in the log', () => new Set(log.texts()).size === 300, 20_000);
    await until('all are acknowledged', () => bridge.connected && bridge.stats().inFlight === 0);
  });
}

/** Takes over a client's session and leaves it at once, with nothing acknowledged. */
async function throwOut(url: string, clientId: string): Promise<void> {
  const socket = await cleanup.tcp(Number(new URL(url).port));
  const answered = new Promise((resolve) => socket.once('data', resolve));
  socket.write(generate({ cmd: 'connect', clientId, clean: false, keepalive: 60 }));
  await answered;
  socket.destroy();
}

describe.skipIf(noMosquitto)('retained messages', () => {
  test(
    'come once with MQTT 5, at each subscription with 3.1.1, and are stored as any',
    async () => {
      const { url } = await mosquitto();
      const client = await cleanup.client(url);
      await client.publishAsync(topicOf('d'), 'kept', { qos: 1, retain: true });
      for (const [protocolVersion, expected] of [
        [5, ['kept', 'new']],
        [4, ['kept', 'kept', 'new']],
      ] as const) {
        const log = memoryLog();
        const clientId = `bridge-${protocolVersion}`;
        const options = { url, protocolVersion, clientId, appender: log.appender };
        const first = await cleanup.bridge(options);
        await until('the retained one', () => log.messages.length === 1);
        await first.close();
        const second = await cleanup.bridge(options);
        if (protocolVersion === 4) await until('it again', () => log.messages.length === 2);
        await client.publishAsync(topicOf('d'), 'new', { qos: 1 });
        await until('the new one', () => log.texts().includes('new'));
        expect(log.texts()).toEqual([...expected]);
        await second.close();
      }
    },
    TEST_MS,
  );
});

describe.skipIf(noMosquitto)('several bridges', () => {
  test(
    'of a shared group have each message once between them',
    async () => {
      const { url } = await mosquitto();
      const logs = [memoryLog(), memoryLog()] as const;
      for (const [i, { appender }] of logs.entries()) {
        const member = { clientId: `bridge-${i}`, sharedGroup: 'bridges' };
        await cleanup.bridge({ url, protocolVersion: 5, appender, ...member });
      }
      const client = await cleanup.client(url);
      await publishNumbers(client, { count: 200 });
      const texts = () => logs.flatMap((log) => log.texts());
      await until('all of them', () => texts().length >= 200);
      expect(texts().sort()).toEqual(upTo(200).map(String).sort());
      expect(Math.min(...logs.map(({ messages }) => messages.length))).toBeGreaterThan(0);
    },
    TEST_MS,
  );

  test(
    'of one client id and no election are told what is wrong',
    async () => {
      const { url } = await mosquitto();
      const options = { url, protocolVersion: 5, appender: memoryLog().appender } as const;
      const first = await cleanup.bridge(options);
      await cleanup.bridge(options);
      const said = () => first.lines.map(({ message }) => message).join();
      await until('a line', () => said().includes('another client has the same id'));
    },
    TEST_MS,
  );
});
