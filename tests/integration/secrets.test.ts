import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { runApp, startTestApp } from '../support/app.ts';
import { eventually } from '../support/process.ts';

/** What is secret is in no log, at the level that tells most, where connections fail. */

const SLOW = 120_000;
const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-secrets-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const secret = (name: string) => `hush-${name}-0123456789-0123456789-0123456789`;
const HUSH = /hush-[\w-]+/;

async function attempt(url: string, username: string, password: string): Promise<void> {
  const client = mqtt.connect(url, { username, password, reconnectPeriod: 0 });
  await new Promise<void>((resolve) => {
    client.once('error', () => resolve());
    client.once('connect', () => resolve());
  });
  await client.endAsync(true);
}

test(
  'of a process that runs: its own, and those that strangers show',
  async () => {
    const app = await startTestApp({
      LOG_LEVEL: 'trace',
      MQTT_AUTH: 'on',
      AUTH_JWT_SECRET: secret('jwt'),
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
      OTEL_EXPORTER_OTLP_HEADERS: `authorization=${secret('otlp')}`,
      OTEL_TRACES_SAMPLER_ARG: '1',
    });
    try {
      for (const [name, password] of [
        ['user_123', secret('wrong')],
        [secret('name'), 'x'],
        ['$pulsegraph', secret('own')],
      ] as const) {
        await attempt(app.mqttUrl, name, password);
      }
      for (const authorization of [`Bearer ${secret('token')}`, `Basic ${secret('basic')}`]) {
        const headers = { authorization, 'content-type': 'application/json' };
        await fetch(app.graphqlUrl, { method: 'POST', headers, body: '{"query":"{__typename}"}' });
      }
      await eventually('the refusals are logged', () => app.stderr().includes('MQTT login'));
      await app.stop();
      const written = app.stdout() + app.stderr();
      expect(written).toContain('"level":20');
      expect(HUSH.exec(written)).toBeNull();
      const database = readFileSync(join(app.dataDir, 'postgres-password'), 'utf8').trim();
      expect(database.length).toBeGreaterThan(10);
      expect(written).not.toContain(database);
    } finally {
      await app.remove();
    }
  },
  SLOW,
);

test(
  'of a process whose broker is away',
  async () => {
    const app = await startTestApp({
      LOG_LEVEL: 'trace',
      MQTT_URL: `mqtt://me:${secret('url')}@127.0.0.1:1`,
      MQTT_USERNAME: 'me',
      MQTT_PASSWORD: secret('mqtt'),
    });
    try {
      await eventually('the trouble is logged', () => app.stderr().includes('retrying'));
      await app.stop();
      const written = app.stdout() + app.stderr();
      expect(HUSH.exec(written)).toBeNull();
    } finally {
      await app.remove();
    }
  },
  SLOW,
);

test.each([
  ['database', { DATABASE_URL: `postgres://me:${secret('database')}@127.0.0.1:1/x` }],
  [
    'pooler',
    {
      DATABASE_URL: `postgres://me:${secret('database')}@127.0.0.1:1/x`,
      DATABASE_DIRECT_URL: `postgres://me:${secret('direct')}@127.0.0.1:1/x?sslmode=require`,
    },
  ],
  [
    'setting',
    {
      AUTH_JWT_SECRET: 'hush-short',
      DATABASE_URL: `mysql://me:${secret('database')}@127.0.0.1/x`,
      KAFKA_BROKERS: `me:${secret('kafka')}@127.0.0.1:1`,
      OTEL_EXPORTER_OTLP_HEADERS: secret('otlp'),
    },
  ],
] as [string, Record<string, string>][])(
  'of a start that fails for its %s',
  async (_, settings) => {
    const ended = await runApp(join(folder, 'data'), { LOG_LEVEL: 'trace', ...settings });
    expect(ended.code).toBe(1);
    expect(HUSH.exec(ended.stdout + ended.stderr.join('\n'))).toBeNull();
  },
  SLOW,
);
