import { afterEach, describe, expect, test } from 'bun:test';
import mqttPacket from 'mqtt-packet';
import { StartError } from '../../src/domain/start-error.ts';
import {
  bytesUntilClose,
  Cleanup,
  inbox,
  memoryLog,
  recordingLogger,
  topicOf,
  until,
} from './helpers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.end());

describe('into the log', () => {
  test.each([1, 2] as const)('a QoS %d message is acknowledged once it is durable', async (qos) => {
    const log = memoryLog();
    const broker = await cleanup.broker({ appender: log.appender });
    const client = await cleanup.client(broker.url);
    log.hold();
    let acknowledged = false;
    const published = client.publishAsync(topicOf('d'), '1', { qos }).then(() => {
      acknowledged = true;
    });
    await until('the append', () => log.waiting() === 1);
    // A ping there and back: had the broker answered the message, the answer would be here.
    const other = await cleanup.client(broker.url);
    await other.subscribeAsync('x');
    expect(acknowledged).toBe(false);
    log.release();
    await published;
    expect(log.messages.length).toBe(1);
    expect(log.messages[0]).toMatchObject({ topic: 'users/u/devices/d/telemetry', key: 'u/d' });
  });

  test('every QoS gets in once, in order, and a wrong telemetry topic too', async () => {
    const log = memoryLog();
    const broker = await cleanup.broker({ appender: log.appender });
    const client = await cleanup.client(broker.url);
    const published: Promise<unknown>[] = [];
    for (const qos of [0, 1, 2] as const) {
      for (let i = 0; i < 50; i++) {
        published.push(client.publishAsync(topicOf('d'), `${qos}-${i}`, { qos }));
      }
    }
    await Promise.all(published);
    await client.publishAsync('users//telemetry', 'stray', { qos: 1 });
    await client.publishAsync('users/u/devices/d/status', 'plain', { qos: 1 });
    await until('151 messages', () => log.messages.length >= 151);
    const expected = [0, 1, 2].flatMap((qos) =>
      Array.from({ length: 50 }, (_, i) => `${qos}-${i}`),
    );
    expect(log.texts()).toEqual([...expected, 'stray']);
    expect(log.messages.at(-1)).toMatchObject({ topic: 'users//telemetry', key: null });
    expect(broker.stats().appended).toBe(151);
  });

  test('a QoS 2 message that is sent again before its PUBREC gets in once', async () => {
    const log = memoryLog();
    const broker = await cleanup.broker({ appender: log.appender });
    const socket = await cleanup.tcp(broker.port);
    const answers: mqttPacket.Packet[] = [];
    const parser = mqttPacket.parser().on('packet', (packet) => answers.push(packet));
    socket.on('data', (chunk) => parser.parse(chunk as Buffer));
    socket.write(connectPacket('twice'));
    await until('CONNACK', () => answers.length === 1);
    const message = (dup: boolean) =>
      mqttPacket.generate({
        ...{ cmd: 'publish', topic: topicOf('d'), payload: 'x', qos: 2, messageId: 7 },
        ...{ dup, retain: false },
      });
    log.hold();
    socket.write(message(false));
    await until('the append', () => log.waiting() === 1);
    socket.write(message(true));
    const other = await cleanup.client(broker.url);
    await other.subscribeAsync('x');
    log.release();
    await until('PUBRECs', () => answers.length === 3);
    socket.write(message(true));
    await until('a third PUBREC', () => answers.length === 4);
    expect(answers.slice(1).map(({ cmd }) => cmd)).toEqual(['pubrec', 'pubrec', 'pubrec']);
    expect(log.messages.length).toBe(1);
  });

  test('a log that fails: no PUBACK, the connection ends, one line', async () => {
    const log = memoryLog();
    const { logger, lines } = recordingLogger();
    const broker = await cleanup.broker({ appender: log.appender, logger });
    const client = await cleanup.client(broker.url);
    // With a subscription aedes takes a turn to close the connection, and works on in that turn.
    await client.subscribeAsync('own');
    const reader = await cleanup.client(broker.url);
    const received = inbox(reader);
    await reader.subscribeAsync('users/#', { qos: 1 });
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    // The others are written, but behind a lost one nothing may be acknowledged.
    log.fail(new Error('disk is gone'), (text) => text === '0');
    let acknowledged = 0;
    for (let i = 0; i < 20; i++) {
      client.publish(topicOf('d'), String(i), { qos: 1 }, (error) => {
        if (!error) acknowledged++;
      });
    }
    await closed;
    expect(acknowledged).toBe(0);
    const errors = lines.filter(({ level }) => level === 'error');
    expect(errors.map(({ message }) => message)).toEqual([
      'an MQTT message could not be made durable: not acknowledged, its connection is closed',
    ]);
    log.fail(null);
    const again = await cleanup.client(broker.url);
    await again.publishAsync(topicOf('d'), 'back', { qos: 1 });
    await until('the next message', () => received.messages.length > 0);
    expect(received.texts()).toEqual(['back']);
  });

  test('a publisher that the log keeps waiting is not read on, and stops nobody else', async () => {
    const log = memoryLog();
    const broker = await cleanup.broker({ appender: log.appender, maxInflowMessages: 50 });
    const stuck = await cleanup.tcp(broker.port);
    stuck.write(connectPacket('stuck'));
    await new Promise((resolve) => stuck.once('data', resolve));
    log.hold();
    // One packet for each segment, so that the broker is offered every one on its own.
    for (let i = 0; i < 400; i++) {
      stuck.write(publishPacket(topicOf('d'), String(i), i + 1));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const other = await cleanup.client(broker.url);
    const received = inbox(other);
    await other.subscribeAsync('plain', { qos: 1 });
    await other.publishAsync('plain', 'through', { qos: 1 });
    await until('the other’s message', () => received.messages.length === 1);
    // One read may bring several packets, the last before the limit as well.
    expect(log.messages.length).toBeLessThan(300);
    log.release();
    await until('all 400', () => log.messages.length === 400);
    expect(log.texts()).toEqual(Array.from({ length: 400 }, (_, i) => String(i)));
  });

  test('what all publishers have unfinished is bounded, and stops nobody without', async () => {
    const log = memoryLog();
    const [connections, each, payload] = [10, 40, 'x'.repeat(1_000)];
    const broker = await cleanup.broker({ appender: log.appender, maxInFlightBytes: 100_000 });
    const other = await cleanup.client(broker.url);
    const received = inbox(other);
    const sockets = await Promise.all(
      Array.from({ length: connections }, async (_, n) => {
        const socket = await cleanup.tcp(broker.port);
        socket.write(connectPacket(`c${n}`));
        await new Promise((resolve) => socket.once('data', resolve));
        return socket;
      }),
    );
    log.hold();
    for (let i = 0; i < each; i++) {
      for (const socket of sockets) socket.write(publishPacket(topicOf('d'), payload, i + 1));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await other.subscribeAsync('plain', { qos: 1 });
    await other.publishAsync('plain', 'through', { qos: 1 });
    await until('the other’s message', () => received.messages.length === 1);
    const { inFlightBytes } = broker.stats();
    expect(inFlightBytes).toBeGreaterThanOrEqual(100_000);
    // The last reads before the limit may have brought some more; it is 400,000 without one.
    expect(inFlightBytes).toBeLessThan(200_000);
    expect(inFlightBytes).toBe(log.waiting() * payload.length);
    log.release();
    await until('all of them', () => log.messages.length === connections * each);
    expect(broker.stats().inFlightBytes).toBe(0);
  });

  test('nor do devices that come back and send again go past twice of it', async () => {
    const log = memoryLog();
    const payload = 'x'.repeat(1_000);
    const broker = await cleanup.broker({ appender: log.appender, maxInFlightBytes: 50_000 });
    log.hold();
    for (let n = 0; n < 30; n++) {
      const socket = await cleanup.tcp(broker.port);
      socket.write(connectPacket('again'));
      for (let i = 0; i < 10; i++) socket.write(publishPacket(topicOf('d'), payload, i + 1));
      await Bun.sleep(20);
      socket.destroy();
    }
    // With the one read that went past it; it is 300,000 without.
    expect(broker.stats().inFlightBytes).toBeGreaterThanOrEqual(100_000);
    expect(broker.stats().inFlightBytes).toBeLessThan(120_000);
    log.release();
    await until('room', () => broker.stats().inFlightBytes === 0);
    const client = await cleanup.client(broker.url);
    await client.publishAsync(topicOf('d'), 'on it goes', { qos: 1 });
    expect(log.texts().at(-1)).toBe('on it goes');
  });
});

describe('connections', () => {
  test('an MQTT 5 client is refused with 0x84 and a line that names the way out', async () => {
    const { logger, lines } = recordingLogger();
    const broker = await cleanup.broker({ logger });
    const socket = await cleanup.tcp(broker.port);
    const bytes = bytesUntilClose(socket);
    socket.write(
      mqttPacket.generate({
        ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true },
        ...{ clientId: 'five', keepalive: 0 },
      }),
    );
    expect(await bytes).toEqual(Buffer.from([0x20, 0x03, 0x00, 0x84, 0x00]));

    const refused = await cleanup.client(broker.url, { protocolVersion: 5 }).catch((e) => e);
    expect(refused).toMatchObject({ code: 0x84 });
    expect(refused.message).toContain('Unsupported Protocol Version');
    const warnings = lines.filter(({ level }) => level === 'warn');
    expect(warnings.length).toBe(1);
    expect(warnings[0]?.message).toContain(
      'set protocolVersion 4 / use MQTT 3.1.1, or set MQTT_URL',
    );
    expect(broker.stats().refusedMqtt5).toBe(2);
    const fine = await cleanup.client(broker.url, { protocolId: 'MQIsdp', protocolVersion: 3 });
    expect(fine.connected).toBe(true);
  });

  test('a packet over the hard limit ends its connection when its length arrives', async () => {
    const { logger, lines } = recordingLogger();
    const broker = await cleanup.broker({ logger });
    const socket = await cleanup.tcp(broker.port);
    const closed = bytesUntilClose(socket);
    socket.write(connectPacket('large'));
    // PUBLISH of 256 MiB, of which nothing but the header is sent.
    socket.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]));
    await closed;
    expect(broker.stats().oversized).toBe(1);
    expect(lines.map(({ message }) => message).join()).toContain('far over the size limit');
    const client = await cleanup.client(broker.url);
    await client.publishAsync('fits', Buffer.alloc(1_000_000), { qos: 1 });
  });

  test.each([
    ['QoS 0, which goes without', 0, 60_000],
    ['QoS 1, which is disconnected', 1, 500],
  ] as const)(
    'a frozen subscriber stops nobody: %s',
    async (_, qos, drainTimeoutMs) => {
      const broker = await cleanup.broker({ drainTimeoutMs });
      const frozen = await cleanup.tcp(broker.port);
      frozen.write(connectPacket('frozen'));
      await new Promise((resolve) => frozen.once('data', resolve));
      const subscribe = { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#', qos }] };
      frozen.write(mqttPacket.generate(subscribe as mqttPacket.ISubscribePacket));
      await new Promise((resolve) => frozen.once('data', resolve));
      frozen.pause();

      const reader = await cleanup.client(broker.url);
      const writer = await cleanup.client(broker.url);
      const received = inbox(reader);
      await reader.subscribeAsync('calm', { qos: 1 });
      // 24 MB, several times of what kernel and sockets hold for the frozen one.
      const block = 'x'.repeat(60_000);
      for (let i = 0; i < 400; i++) await writer.publishAsync('calm', `${i} ${block}`, { qos: 1 });
      await until('every message', () => received.messages.length === 400, 10_000);
      const order = received.texts().map((text) => Number.parseInt(text, 10));
      expect(order).toEqual(Array.from({ length: 400 }, (_, i) => i));
      if (qos === 0) expect(broker.stats()).toMatchObject({ connections: 3 });
      else await until('the frozen one to go', () => broker.stats().connections === 2);
      expect(broker.stats().skipped > 0).toBe(qos === 0);
    },
    30_000,
  );

  test('more connections than allowed are refused', async () => {
    const broker = await cleanup.broker({ maxConnections: 1 });
    const first = await cleanup.client(broker.url);
    await expect(cleanup.client(broker.url)).rejects.toThrow();
    await first.endAsync();
    await until('room', () => broker.stats().connections === 0);
    await cleanup.client(broker.url);
  });

  test('a taken port says what to do', async () => {
    const broker = await cleanup.broker();
    const failed = await cleanup.broker({ port: broker.port }).catch((e) => e);
    expect(failed).toBeInstanceOf(StartError);
    expect(failed.message).toBe(
      `MQTT_PORT ${broker.port} is taken: stop the program that uses it, or set MQTT_PORT to another port`,
    );
  });

  test('close ends every connection, also while the log keeps a message waiting', async () => {
    const log = memoryLog();
    const broker = await cleanup.broker({ appender: log.appender });
    const client = await cleanup.client(broker.url);
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    log.hold();
    client.publish(topicOf('d'), 'x', { qos: 1 }, () => {});
    await until('the append', () => log.waiting() === 1);
    await broker.close(500);
    await closed;
    log.release();
  });
});

function connectPacket(clientId: string): Buffer {
  return mqttPacket.generate({
    ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true },
    ...{ clientId, keepalive: 0 },
  });
}

function publishPacket(topic: string, payload: string, messageId: number): Buffer {
  return mqttPacket.generate({
    ...{ cmd: 'publish', topic, payload, qos: 1, messageId },
    ...{ dup: false, retain: false },
  });
}

describe('messages of all QoS from many connections', () => {
  test('reach a subscriber once each, in whatever order they became durable', async () => {
    const broker = await cleanup.broker({ appender: memoryLog().appender });
    const subscriber = await cleanup.client(broker.url);
    const received = inbox(subscriber);
    // Overlapping, which still makes one message of each.
    await subscriber.subscribeAsync('news/#', { qos: 0 });
    await subscriber.subscribeAsync('news/+/today', { qos: 0 });
    const publishers = await Promise.all([0, 1, 2].map(() => cleanup.client(broker.url)));
    const sent: string[] = [];
    for (let round = 0; round < 20; round++) {
      await Promise.all(
        publishers.flatMap((publisher, n) =>
          ([0, 1, 2] as const).map((qos) => {
            sent.push(`${round} ${n} ${qos}`);
            return publisher.publishAsync('news/x/today', `${round} ${n} ${qos}`, { qos });
          }),
        ),
      );
    }
    await until('all messages', () => received.texts().length >= sent.length);
    expect(received.texts().sort()).toEqual(sent.sort());
  }, 30_000);
});
