import { afterAll, afterEach, beforeEach, expect, test } from 'bun:test';
import { join } from 'node:path';
import type { IClientOptions } from 'mqtt';
import type { Broker } from '../../src/mqtt/broker.ts';
import { createAuthority } from '../support/certificates.ts';
import { testDatabase } from '../support/postgres.ts';
import { addCases, guardOf } from './accounts.ts';
import { PASSWORD } from './acl-cases.ts';
import { bytesUntilClose, Cleanup, inbox, memoryLog, recordingLogger, until } from './helpers.ts';

const SLOW = 60_000;
const authority = createAuthority();
const stranger = createAuthority();
const server = authority.issue('server');
const device = authority.issue('user_123');
const own = 'users/user_123/devices/pump_1/telemetry';
const database = await testDatabase();
await addCases(database.sql);
const cleanup = new Cleanup();
const log = memoryLog();
let lines: ReturnType<typeof recordingLogger>['lines'];

afterEach(() => cleanup.end(), SLOW);
afterAll(async () => {
  authority.remove();
  stranger.remove();
  await database.drop();
});
beforeEach(() => log.messages.splice(0));

function start(options: { clientCa?: string; namesByCertificate?: boolean } = {}): Promise<Broker> {
  const { logger, lines: written } = recordingLogger();
  lines = written;
  const guard = guardOf(database.sql, logger);
  cleanup.add(() => guard.close());
  return cleanup.broker({
    ...{ guard, logger, appender: log.appender, dataFile: join(cleanup.folder(), 'mqtt.sqlite') },
    tls: {
      ...{ port: 0, host: '127.0.0.1', cert: server.cert, key: server.key },
      ...{ namesByCertificate: false, ...options },
    },
  });
}

const connect = (broker: Broker, options: IClientOptions) =>
  cleanup.client(broker.tlsUrl ?? '', { ca: authority.ca, ...options });
const login = { username: 'user_123', password: PASSWORD };

test(
  'a login over TLS, large and many messages, and the same session on both ports',
  async () => {
    const broker = await start();
    expect(broker.tlsUrl).toMatch(/^mqtts:\/\/127\.0\.0\.1:\d+$/);
    const client = await connect(broker, login);
    const reader = await cleanup.client(broker.url, login);
    const read = inbox(reader);
    await reader.subscribeAsync('users/user_123/config', { qos: 1 });
    const large = 'x'.repeat(60_000);
    const sent = Array.from({ length: 200 }, (_, i) =>
      client.publishAsync(own, `${i} ${large}`, { qos: 1 }),
    );
    await Promise.all(sent);
    await client.publishAsync('users/user_123/config', large, { qos: 1 });
    await until('the config', () => read.messages.length === 1, 20_000);
    expect(log.texts().map((text) => Number.parseInt(text, 10))).toEqual(sent.map((_, i) => i));
    expect(broker.stats().connections).toBe(2);
    await expect(connect(broker, { ...login, password: 'x' })).rejects.toThrow('Bad username');
  },
  SLOW,
);

test(
  'whom the client does not trust it does not talk to; plain bytes get no answer',
  async () => {
    const broker = await start();
    await expect(connect(broker, { ...login, ca: stranger.ca })).rejects.toThrow();
    const socket = await cleanup.tcp(Number(new URL(broker.tlsUrl ?? '').port));
    const bytes = bytesUntilClose(socket);
    socket.write('GET / HTTP/1.1\r\n\r\n');
    expect((await bytes).toString()).not.toContain('HTTP');
    await until('a line', () => lines.some(({ message }) => message.includes('handshake')), 20_000);
    await connect(broker, login);
  },
  SLOW,
);

test(
  'a certificate of the client is asked for, checked, and its name the account',
  async () => {
    const broker = await start({ clientCa: authority.ca, namesByCertificate: true });
    const client = await connect(broker, { cert: device.cert, key: device.key });
    await client.publishAsync(own, 'x', { qos: 1 });
    const denied = new Promise<void>((resolve) => client.once('close', () => resolve()));
    client.publish('users/user_124/config', 'x');
    await denied;
    // The certificate says who it is, whatever else is said.
    const { cert, key } = device;
    const other = await connect(broker, { cert, key, username: 'user_124', password: PASSWORD });
    await other.publishAsync(own, 'y', { qos: 1 });
    for (const certificate of [
      {},
      stranger.issue('user_123'),
      authority.issue('nobody'),
      authority.issue('leaver'),
      authority.issue('+'),
    ]) {
      await expect(connect(broker, { ...login, ...certificate })).rejects.toThrow();
    }
    // Over the other port a name without a password is nobody.
    await expect(cleanup.client(broker.url, { username: 'user_123' })).rejects.toThrow('Bad');
    expect(log.texts()).toEqual(['x', 'y']);
  },
  SLOW,
);

test(
  'a certificate alone is no login',
  async () => {
    const broker = await start({ clientCa: authority.ca });
    const { cert, key } = device;
    await expect(connect(broker, { cert, key })).rejects.toThrow('Bad username');
    await connect(broker, { cert, key, ...login });
  },
  SLOW,
);
