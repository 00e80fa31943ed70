import { afterEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import type { LogRecord } from '../../src/domain/log.ts';
import type { EmbeddedLog } from '../../src/engine/sources/embedded-log.ts';
import { temporaryLogs } from '../engine/sources/temporary-log.ts';
import { noMosquitto } from '../support/mosquitto.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';
import {
  BridgeCleanup,
  firstsByDevice,
  numbersByDevice,
  publishNumbers,
} from './bridge-harness.ts';
import { memoryLog, topicOf, until } from './helpers.ts';

const TEST_MS = 60_000;
const cleanup = new BridgeCleanup();
afterEach(() => cleanup.end(), TEST_MS);

async function logs() {
  const folder = await temporaryLogs();
  cleanup.add(() => folder.remove());
  return folder;
}

function recordsOf(log: EmbeddedLog): LogRecord[] {
  const records: LogRecord[] = [];
  for (let partition = 0; partition < log.partitions; partition++) {
    const { earliest, end } = log.bounds(partition);
    for (let next = earliest; next < end; ) {
      const page = log.read(partition, next, 1_000);
      records.push(...page);
      next = (page.at(-1)?.offset ?? end) + 1;
    }
  }
  return records;
}

const textsOf = (log: EmbeddedLog) =>
  new Set(recordsOf(log).map(({ value }) => Buffer.from(value).toString()));

for (const protocolVersion of [4, 5] as const) {
  describe.skipIf(noMosquitto)(`Mosquitto, MQTT ${protocolVersion}`, () => {
    test(
      'stopped and started under load: nothing acknowledged is lost',
      async () => {
        const mosquitto = await cleanup.mosquitto();
        const log = await (await logs()).open();
        const { url } = mosquitto;
        const bridge = await cleanup.bridge({ url, protocolVersion, appender: log });
        const acknowledged = new Set<string>();
        // It comes back with its session, and sends again what was not acknowledged.
        const client = await cleanup.client(url, {
          clientId: 'device',
          clean: false,
          reconnectPeriod: 20,
        });
        let stop = false;
        const publish = async (lane: number) => {
          for (let i = lane; !stop; i += 20) {
            await client.publishAsync(topicOf(`d${lane}`), String(i), { qos: 1 });
            acknowledged.add(String(i));
          }
        };
        const publishing = Promise.all(Array.from({ length: 20 }, (_, lane) => publish(lane)));
        for (let round = 0; round < 3; round++) {
          const before = acknowledged.size;
          await until('load', () => acknowledged.size > before + 500, 20_000);
          await mosquitto.stop();
          await until('the bridge has seen it', () => !bridge.connected);
          await mosquitto.start();
          await until('the bridge is back', () => bridge.connected, 20_000);
        }
        stop = true;
        await publishing;
        await until('all in the log', () => acknowledged.isSubsetOf(textsOf(log)), 20_000);
        expect(acknowledged.size).toBeGreaterThan(1_500);
        expect(bridge.lines.some(({ message }) => message.includes('forgotten'))).toBe(false);
        for (const numbers of firstsByDevice(recordsOf(log)).values()) {
          expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
        }
      },
      TEST_MS,
    );

    test(
      'a bridge that is killed: the next one has every message, in order',
      async () => {
        const { url } = await cleanup.mosquitto();
        const folder = await logs();
        const client = await cleanup.client(url);
        let published = 0;
        for (let round = 0; round < 3; round++) {
          const child = Bun.spawn(
            [
              process.execPath,
              join(import.meta.dir, 'child-bridge.ts'),
              url,
              folder.file,
              String(protocolVersion),
            ],
            { stdout: 'pipe' },
          );
          cleanup.add(async () => {
            child.kill('SIGKILL');
            await child.exited;
          });
          const reader = child.stdout.getReader();
          await reader.read();
          const publishing = publishNumbers(client, { from: published, count: 2_000 });
          published += 2_000;
          // As soon as the log has more than before.
          await reader.read();
          child.kill('SIGKILL');
          await child.exited;
          await publishing;
        }
        const log = await folder.open();
        const before = textsOf(log).size;
        await cleanup.bridge({ url, protocolVersion, appender: log });
        await until('all in the log', () => textsOf(log).size === published, 20_000);
        expect(before).toBeGreaterThan(0);
        expect(before).toBeLessThan(published);
        expect(firstsByDevice(recordsOf(log))).toEqual(numbersByDevice(published));
      },
      TEST_MS,
    );
  });
}

describe.skipIf(noMosquitto)('the connection', () => {
  test(
    'that hangs is given up by its pings, and another one made',
    async () => {
      const { url } = await cleanup.mosquitto();
      const proxy = await tcpProxy(url);
      cleanup.add(() => proxy.close());
      const log = memoryLog();
      const bridge = await cleanup.bridge({
        url: proxy.url,
        appender: log.appender,
        keepAliveS: 1,
        handshakeTimeoutMs: 300,
      });
      proxy.freeze();
      await until('it is given up', () => !bridge.connected);
      const client = await cleanup.client(url);
      await publishNumbers(client, { count: 3 });
      proxy.thaw();
      await until('another one', () => bridge.connected);
      await until('what came meanwhile', () => log.messages.length >= 3);
      expect(bridge.lines.find(({ level }) => level === 'warn')?.message).toContain(
        'answer a ping',
      );
    },
    TEST_MS,
  );

  test(
    'of a bridge that is full stays open, as it still pings',
    async () => {
      const mosquitto = await cleanup.mosquitto({ settings: ['log_type all'] });
      const { url } = mosquitto;
      const log = memoryLog();
      log.hold();
      const limits = { maxInFlight: 5, keepAliveS: 1 };
      const bridge = await cleanup.bridge({ url, appender: log.appender, ...limits });
      const client = await cleanup.client(url);
      await publishNumbers(client, { count: 50 });
      await until('it is full', () => bridge.stats().inFlight >= 5);
      const pings = () =>
        mosquitto.said().split('Received PINGREQ from pulsegraph-bridge').length - 1;
      const before = pings();
      // Mosquitto would have ended it after one and a half keepalives, three pings.
      await until('five pings', () => pings() >= before + 5, 10_000);
      log.release();
      await until('all of them', () => log.messages.length === 50);
      expect(bridge.stats().connects).toBe(1);
    },
    TEST_MS,
  );

  test(
    'that begins with more than the log takes at once is no silent one',
    async () => {
      const mosquitto = await cleanup.mosquitto({ settings: ['log_type all'] });
      const { url } = mosquitto;
      const log = memoryLog();
      const first = await cleanup.bridge({ url, appender: log.appender });
      await first.close();
      const client = await cleanup.client(url);
      await publishNumbers(client, { count: 50 });
      log.hold();
      // The answer to SUBSCRIBE comes behind what is not read.
      const limits = { maxInFlight: 5, keepAliveS: 1, handshakeTimeoutMs: 200 };
      const bridge = await cleanup.bridge({ url, appender: log.appender, ...limits });
      const pings = () =>
        mosquitto.said().split('Received PINGREQ from pulsegraph-bridge').length - 1;
      await until('two pings, one second', () => pings() >= 2);
      log.release();
      await until('all of them', () => log.messages.length === 50);
      expect(bridge.stats().connects).toBe(1);
    },
    TEST_MS,
  );

  test(
    'lets messages flow when it has been there for some seconds, unless it is full',
    async () => {
      const { url } = await cleanup.mosquitto();
      const log = memoryLog();
      const bridge = await cleanup.bridge({ url, appender: log.appender, maxInFlight: 5 });
      expect(bridge.flowing).toBe(false);
      await until('it flows', () => bridge.flowing, 10_000);
      log.hold();
      const client = await cleanup.client(url);
      await publishNumbers(client, { count: 5 });
      await until('it is full', () => !bridge.flowing);
      expect(bridge.connected).toBe(true);
      log.release();
      await until('it flows again', () => bridge.flowing);
    },
    TEST_MS,
  );

  test(
    'to nobody is told once, and made when somebody is there',
    async () => {
      const mosquitto = await cleanup.mosquitto();
      await mosquitto.stop();
      const log = memoryLog();
      const options = { url: mosquitto.url.replace('//', '//u:secret@'), appender: log.appender };
      const bridge = await cleanup.bridge(options, { wait: false });
      await until('a line', () => bridge.lines.length > 0);
      expect(bridge.lines[0]?.message).toContain(`no telemetry from ${mosquitto.url}: `);
      expect(bridge.lines[0]?.message).toContain('ECONNREFUSED');
      expect(JSON.stringify(bridge.lines)).not.toContain('secret');
      await mosquitto.start();
      await until('the bridge is connected', () => bridge.connected);
      expect(bridge.lines.filter(({ level }) => level === 'warn').length).toBe(1);
    },
    TEST_MS,
  );

  test(
    'to a broker that forgot the session says what is lost',
    async () => {
      const mosquitto = await cleanup.mosquitto({ settings: ['persistence false'] });
      const { url } = mosquitto;
      const bridge = await cleanup.bridge({ url, appender: memoryLog().appender });
      await mosquitto.stop();
      await mosquitto.start();
      await until('the bridge is back', () => bridge.stats().connects === 2);
      expect(bridge.lines.filter(({ level }) => level === 'error')[0]?.message).toContain(
        'the broker has forgotten the session',
      );
    },
    TEST_MS,
  );
});
