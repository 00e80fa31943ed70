import { afterEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { Cleanup, inbox, recordingLogger, topicOf, until } from './helpers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.end());

const app = { clientId: 'app', clean: false } as const;

describe('a broker that starts again on the same file', () => {
  test('has sessions, queues in order and retained messages', async () => {
    const dataFile = join(cleanup.folder(), 'mqtt.sqlite');
    const first = await cleanup.broker({ dataFile });
    const subscriber = await cleanup.client(first.url, app);
    await subscriber.subscribeAsync({ 'users/+/alerts': { qos: 1 }, 'two/#': { qos: 2 } });
    await subscriber.endAsync();
    const publisher = await cleanup.client(first.url);
    for (let i = 0; i < 300; i++) {
      await publisher.publishAsync('users/u/alerts', String(i), { qos: 1 });
    }
    await publisher.publishAsync('two/x', 'exactly', { qos: 2 });
    await publisher.publishAsync('users/u/config', 'old', { qos: 1, retain: true });
    await publisher.publishAsync('users/u/config', 'kept', { qos: 1, retain: true });
    await publisher.publishAsync('users/v/config', 'gone', { qos: 1, retain: true });
    await publisher.publishAsync('users/v/config', '', { qos: 1, retain: true });
    expect(first.stats()).toMatchObject({ sessions: 1, queuedMessages: 301 });
    await first.close();

    const second = await cleanup.broker({ dataFile });
    const back = await cleanup.client(second.url, { ...app, manualConnect: false });
    const received = inbox(back);
    await until('301 messages', () => received.messages.length >= 301);
    await until('their acknowledgements', () => second.stats().queuedMessages === 0);
    expect(received.texts()).toEqual([...Array.from({ length: 300 }, (_, i) => `${i}`), 'exactly']);
    const fresh = await cleanup.client(second.url);
    const retained = inbox(fresh);
    await fresh.subscribeAsync('users/+/config', { qos: 1 });
    await until('the retained message', () => retained.messages.length > 0);
    await fresh.publishAsync('users/w/config', 'live', { qos: 1 });
    await until('a live one', () => retained.messages.length > 1);
    expect(retained.messages).toEqual([
      { topic: 'users/u/config', text: 'kept', retain: true },
      { topic: 'users/w/config', text: 'live', retain: false },
    ]);
  });

  test('after kill -9 has all that was acknowledged', async () => {
    const dataFile = join(cleanup.folder(), 'mqtt.sqlite');
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, 'child-broker.ts'), dataFile],
      {
        stdout: 'pipe',
      },
    );
    cleanup.add(async () => {
      child.kill('SIGKILL');
      await child.exited;
    });
    const { value } = await child.stdout.getReader().read();
    const url = `mqtt://127.0.0.1:${Number(new TextDecoder().decode(value))}`;
    const subscriber = await cleanup.client(url, app);
    await subscriber.subscribeAsync('users/+/alerts', { qos: 1 });
    await subscriber.endAsync();

    const publisher = await cleanup.client(url);
    const acknowledged: string[] = [];
    let sent = 0;
    const gone = new Promise<void>((resolve) => publisher.once('close', () => resolve()));
    const publish = () => {
      const text = String(sent++);
      publisher.publish('users/u/alerts', text, { qos: 1, retain: true }, (error) => {
        if (error) return;
        acknowledged.push(text);
        publish();
      });
    };
    for (let i = 0; i < 50; i++) publish();
    await until('300 acknowledgements', () => acknowledged.length > 300);
    child.kill('SIGKILL');
    await gone;
    await child.exited;

    const broker = await cleanup.broker({ dataFile });
    const back = await cleanup.client(broker.url, app);
    const received = inbox(back);
    await until(
      'the queue',
      () => broker.stats().queuedMessages === 0 && received.messages.length > 0,
    );
    const texts = received.texts();
    expect(acknowledged.filter((text) => !texts.includes(text))).toEqual([]);
    expect(texts).toEqual(texts.map((_, i) => String(i)));
    const fresh = await cleanup.client(broker.url);
    const retained = inbox(fresh);
    await fresh.subscribeAsync('users/u/alerts');
    await until('the retained message', () => retained.messages.length === 1);
    const last = Math.max(...acknowledged.map(Number));
    expect(Number(retained.texts()[0])).toBeGreaterThanOrEqual(last);
  }, 30_000);
});

describe('a session', () => {
  test('gets what waited before what comes meanwhile, and each once', async () => {
    const broker = await cleanup.broker();
    const away = await cleanup.client(broker.url, app);
    await away.subscribeAsync('t/#', { qos: 1 });
    await away.endAsync();
    const publisher = await cleanup.client(broker.url);
    const total = 3_000;
    let next = 0;
    const publishUpTo = async (end: number) => {
      const published: Promise<unknown>[] = [];
      for (; next < end; next++) {
        published.push(publisher.publishAsync('t/x', String(next), { qos: 1 }));
        if (published.length === 100) await Promise.all(published.splice(0));
      }
      await Promise.all(published);
    };
    await publishUpTo(2_000);
    const rest = publishUpTo(total);
    const back = await cleanup.client(broker.url, app);
    const received = inbox(back);
    await rest;
    await until('every message', () => received.messages.length >= total, 10_000);
    await until('the acknowledgements', () => broker.stats().queuedMessages === 0);
    expect(received.texts()).toEqual(Array.from({ length: total }, (_, i) => String(i)));
  }, 30_000);

  test('whose queue is full loses its oldest messages, with a line in the log', async () => {
    const { logger, lines } = recordingLogger();
    const broker = await cleanup.broker({ maxQueuedMessages: 10, logger });
    const away = await cleanup.client(broker.url, app);
    await away.subscribeAsync('t', { qos: 1 });
    await away.endAsync();
    const publisher = await cleanup.client(broker.url);
    for (let i = 0; i < 15; i++) await publisher.publishAsync('t', String(i), { qos: 1 });
    expect(broker.stats()).toMatchObject({ queuedMessages: 10, dropped: 5 });
    expect(lines.filter(({ message }) => message.includes('queue is full')).length).toBe(1);
    const received = inbox(await cleanup.client(broker.url, app));
    await until('ten messages', () => received.messages.length === 10);
    expect(received.texts()).toEqual(Array.from({ length: 10 }, (_, i) => String(i + 5)));
  });

  test('that a clean connection takes the name of is gone', async () => {
    const broker = await cleanup.broker();
    const away = await cleanup.client(broker.url, app);
    await away.subscribeAsync('t', { qos: 1 });
    await away.endAsync();
    const publisher = await cleanup.client(broker.url);
    await publisher.publishAsync('t', 'x', { qos: 1 });
    const clean = await cleanup.client(broker.url, { clientId: 'app', clean: true });
    expect(broker.stats()).toMatchObject({ sessions: 0, queuedMessages: 0 });
    await clean.endAsync();
  });

  test('that stays away too long is forgotten with its queue, one that came back is not', async () => {
    const broker = await cleanup.broker({ sessionExpiryMs: 300 });
    const names = ['app', 'other'] as const;
    for (const clientId of names) {
      const away = await cleanup.client(broker.url, { ...app, clientId });
      await away.subscribeAsync('t', { qos: 1 });
      await away.endAsync();
    }
    const back = await cleanup.client(broker.url, { ...app, clientId: 'other' });
    const received = inbox(back);
    const publisher = await cleanup.client(broker.url);
    await publisher.publishAsync('t', 'x', { qos: 1 });
    await until('the end of one', () => broker.stats().sessions === 1);
    await until('its queue', () => broker.stats().queuedMessages === 0);
    await publisher.publishAsync('t', 'y', { qos: 1 });
    await until('both messages', () => received.messages.length === 2);
    expect(broker.stats().sessions).toBe(1);
  });

  test('its telemetry queue is written before the PUBACK too', async () => {
    const dataFile = join(cleanup.folder(), 'mqtt.sqlite');
    const broker = await cleanup.broker({ dataFile });
    const away = await cleanup.client(broker.url, app);
    await away.subscribeAsync('users/+/devices/+/telemetry', { qos: 1 });
    await away.endAsync();
    const publisher = await cleanup.client(broker.url);
    await publisher.publishAsync(topicOf('d'), 'x', { qos: 1 });
    expect(broker.stats().queuedMessages).toBe(1);
  });
});
