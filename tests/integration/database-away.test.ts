import { afterEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Child, exitOf, runApp, spawnApp } from '../support/app.ts';
import { query } from '../support/app-clients.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';

const PORTS = { PORT: '0', MQTT_PORT: '0' };
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
}, 30_000);

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'pulsegraph-away-'));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return join(path, 'data');
}

async function database(): Promise<TestDatabase> {
  const db = await testDatabase();
  cleanups.push(() => db.drop());
  return db;
}

async function frozenLater(): Promise<TcpProxy> {
  const proxy = await tcpProxy((await database()).url);
  cleanups.push(() => proxy.close());
  return proxy;
}

function start(settings: Record<string, string>): Child {
  const child = spawnApp({ DATA_DIR: folder(), ...PORTS, ...settings });
  cleanups.push(async () => {
    child.process.kill('SIGKILL');
    await child.process.exited;
  });
  return child;
}

describe('a database that accepts and does not answer', () => {
  test('a stop ends soon after its deadline, in order', async () => {
    const proxy = await frozenLater();
    const child = start({ DATABASE_URL: proxy.url, SHUTDOWN_DEADLINE: '1s' });
    await eventually('the banner', () => child.text.stdout.includes('is ready'), 20_000);
    const graphqlUrl = /GraphiQL +(\S+)/.exec(child.text.stdout)?.[1] as string;
    await query(graphqlUrl, '{ users(first: 1) { nodes { id } } }');
    proxy.freeze();
    // Polls and a request are under way now.
    const asked = query(graphqlUrl, '{ users(first: 1) { nodes { id } } }').catch(() => {});
    await Bun.sleep(600);
    const startedMs = performance.now();
    child.process.kill('SIGTERM');
    expect(await exitOf(child, 30_000)).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(12_000);
    expect(child.text.stderr).toContain('did not stop in time');
    await asked;
  }, 60_000);

  test('a start can be stopped while it waits', async () => {
    const proxy = await frozenLater();
    proxy.freeze();
    const child = start({ DATABASE_URL: proxy.url });
    await eventually('it has asked', () => proxy.connections() > 0, 20_000);
    const startedMs = performance.now();
    child.process.kill('SIGTERM');
    expect(await exitOf(child)).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  }, 60_000);
});

test('two processes with embedded brokers on one database: the second says who publishes', async () => {
  const { url } = await database();
  const one = start({ DATABASE_URL: url });
  await eventually('the banner', () => one.text.stdout.includes('is ready'), 20_000);
  const two = start({ DATABASE_URL: url });
  await eventually('the other banner', () => two.text.stdout.includes('is ready'), 20_000);
  expect(two.text.stderr).toContain('another process on this database is the publisher');
  expect(one.text.stderr).not.toContain('another process');
}, 60_000);

describe('a database that can not be used gets one line and exit code 1', () => {
  const refused = async (url: string) => {
    const { code, stdout, stderr } = await runApp(folder(), { DATABASE_URL: url });
    expect({ code, stdout, lines: stderr.length }).toEqual({ code: 1, stdout: '', lines: 1 });
    return stderr[0] as string;
  };

  test('nobody listens there', async () => {
    const line = await refused('postgres://ann:hush@127.0.0.1:1/db');
    expect(line).toStartWith('DATABASE_URL postgres://ann:***@127.0.0.1:1/db ');
    expect(line).toContain('start the database, or correct the URL');
  }, 30_000);

  test('it is missing, or the login is refused', async () => {
    const { url } = await database();
    const missing = new URL(url);
    missing.pathname = '/nowhere';
    expect(await refused(missing.href)).toContain('create the database, or name another');
    const stranger = new URL(url);
    stranger.password = 'wrong-hush';
    const line = await refused(stranger.href);
    expect(line).toContain('correct its user and password');
    expect(line).not.toContain('wrong-hush');
  }, 30_000);
});
