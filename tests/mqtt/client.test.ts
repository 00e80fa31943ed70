import { afterEach, describe, expect, test } from 'bun:test';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { connectMqtt, type MqttClientOptions } from '../../src/mqtt/client.ts';
import { Cleanup, memoryLog, recordingLogger, topicOf, until } from './helpers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.end());

function client(url: string, options: Partial<MqttClientOptions> = {}) {
  const created = connectMqtt({
    url,
    clientId: 'own',
    backoff: { firstMs: 10, maxMs: 50 },
    logger: recordingLogger().logger,
    ...options,
  });
  cleanup.add(() => created.close());
  return created;
}

/** A TCP relay in front of a broker that a test can cut and mend. */
async function relay(port: number) {
  const pairs = new Set<Socket>();
  const relayed = { open: true };
  const server = createServer((inner) => {
    if (!relayed.open) {
      inner.destroy();
      return;
    }
    const outer = connectTcp(port, '127.0.0.1');
    for (const [from, to] of [[inner, outer] as const, [outer, inner] as const]) {
      pairs.add(from);
      from.on('error', () => {});
      from.pipe(to);
      from.on('close', () => {
        pairs.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address() as { port: number };
  const cut = () => {
    relayed.open = false;
    for (const socket of pairs) socket.destroy();
  };
  cleanup.add(() => {
    cut();
    return new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `mqtt://127.0.0.1:${address.port}`,
    cut,
    mend: () => {
      relayed.open = true;
    },
  };
}

describe('publish', () => {
  test('resolves on PUBACK', async () => {
    const log = memoryLog();
    const broker = await cleanup.broker({ appender: log.appender });
    const own = client(broker.url);
    await own.whenConnected();
    log.hold();
    let acknowledged = false;
    const published = own.publish(topicOf('d'), '1').then(() => {
      acknowledged = true;
    });
    await until('the append', () => log.waiting() === 1);
    await own.publish('plain', 'x', { qos: 0 });
    expect(acknowledged).toBe(false);
    log.release();
    await published;
  });

  test('rejects without a connection, when it ends, and when no answer comes', async () => {
    const log = memoryLog();
    const broker = await cleanup.broker({ appender: log.appender });
    const between = await relay(broker.port);
    const own = client(between.url, { publishTimeoutMs: 150, maxInFlight: 2 });
    await expect(own.publish('t', 'x')).rejects.toThrow('not connected');
    await own.whenConnected();
    log.hold();
    await expect(own.publish(topicOf('d'), '1')).rejects.toThrow('no answer');
    const second = own.publish(topicOf('d'), '2');
    await expect(own.publish(topicOf('d'), '3')).rejects.toThrow('2 MQTT messages are unanswered');
    await until('the second append', () => log.waiting() === 2);
    between.cut();
    await expect(second).rejects.toThrow('closed');
    await until('the end', () => !own.connected);
    log.release();
    between.mend();
    await own.whenConnected();
    await own.publish(topicOf('d'), '4');
    // Nothing was kept to be sent again behind the caller's back.
    expect(log.texts()).toEqual(['1', '2', '4']);
  });
});

describe('subscribe', () => {
  test('acknowledges when the handler is done, and gets the message again when it fails', async () => {
    const broker = await cleanup.broker();
    const own = client(broker.url, { clean: false });
    const seen: string[] = [];
    const gate = Promise.withResolvers<void>();
    let failures = 1;
    await own.subscribe('users/+/config', async ({ payload, dup }) => {
      seen.push(`${payload}${dup ? ' again' : ''}`);
      if (String(payload) === 'bad' && failures-- > 0) throw new Error('not now');
      await gate.promise;
    });
    const publisher = await cleanup.client(broker.url);
    await publisher.publishAsync('users/u/config', 'one', { qos: 1 });
    await publisher.publishAsync('users/u/config', 'bad', { qos: 1 });
    await until('the first', () => seen.length === 1);
    expect(broker.stats().queuedMessages).toBe(2);
    gate.resolve();
    await until('all acknowledged', () => broker.stats().queuedMessages === 0);
    expect(seen[0]).toBe('one');
    expect(seen.filter((text) => text.startsWith('bad')).length).toBe(2);
  });

  test('a kept session brings what came while it was away, over a broker restart too', async () => {
    const dataFile = join(cleanup.folder(), 'mqtt.sqlite');
    const broker = await cleanup.broker({ dataFile });
    const own = client(broker.url, { clean: false });
    await own.subscribe('users/+/config', () => {});
    await own.close();
    const publisher = await cleanup.client(broker.url);
    await publisher.publishAsync('users/u/config', 'meanwhile', { qos: 1 });
    await broker.close();
    const again = await cleanup.broker({ dataFile, port: broker.port });
    const seen: string[] = [];
    const back = client(again.url, { clean: false });
    await back.subscribe('users/+/config', ({ payload }) => {
      seen.push(String(payload));
    });
    await until('the message', () => seen.length === 1);
    expect(seen).toEqual(['meanwhile']);
  });

  test('comes back by itself and subscribes again', async () => {
    const broker = await cleanup.broker();
    const between = await relay(broker.port);
    const own = client(between.url);
    const seen: string[] = [];
    await own.subscribe('t', ({ payload }) => {
      seen.push(String(payload));
    });
    between.cut();
    await until('the end', () => !own.connected);
    between.mend();
    await own.whenConnected();
    await own.publish('t', 'after');
    await until('the message', () => seen.length === 1);
    expect(seen).toEqual(['after']);
  });
});

test('waits for a broker that is not there yet, and close ends the waiting', async () => {
  const { logger, lines } = recordingLogger();
  const broker = await cleanup.broker();
  await broker.close();
  const own = client(broker.url, { logger });
  await until('a try', () => lines.some(({ level }) => level === 'warn'));
  const waiting = own.whenConnected();
  await own.close();
  await expect(waiting).rejects.toThrow('closed');
});
