import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { type App, startApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { connectClient, listen, query, subscribe, telemetryTopic } from '../support/app-clients.ts';
import { noPgBouncer, type PgBouncer, startPgBouncer } from '../support/pgbouncer.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';

const RULES = `mutation { setRules(userId: "ann", temperatureMax: 80) { version } }`;
const EVENTS = 'subscription { alertEvents(userId: "ann", after: 0) { seq type value } }';

describe.skipIf(noPgBouncer)('two processes with PgBouncer before their one database', () => {
  let db: TestDatabase;
  let pooler: PgBouncer;
  const folders: string[] = [];
  const apps: App[] = [];

  async function start(): Promise<App> {
    const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-behind-'));
    folders.push(folder);
    const config = loadConfig({
      DATABASE_URL: pooler.url,
      DATABASE_DIRECT_URL: db.url,
      DATA_DIR: join(folder, 'data'),
      PORT: '0',
      MQTT_PORT: '0',
      RETENTION_DAYS: '30',
    });
    const app = await startApp(config, pino({ level: 'silent' }), new AbortController().signal);
    apps.push(app);
    return app;
  }

  beforeAll(async () => {
    db = await testDatabase({ empty: true });
    pooler = await startPgBouncer(db.url, { poolSize: 3 });
    await start();
    await start();
  }, 60_000);
  afterAll(async () => {
    for (const app of apps) await app.stop();
    await pooler?.remove();
    await db?.drop();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  test('rules by one, readings by the other, alerts on both, also past a restart of the pooler', async () => {
    const [first, second] = apps as [App, App];
    const client = await connectClient(first.mqttUrl);
    const heard = await listen(client, 'users/ann/#');
    const events = subscribe(second.graphqlUrl, EVENTS, 'alertEvents');
    try {
      await query(second.graphqlUrl, RULES);
      const on = (topic: string) => heard.filter((one) => one.topic === topic);
      await eventually('the rules are broadcast', () => on('users/ann/config').length > 0);
      let sequence = 0;
      const publish = (temperature: number) =>
        client.publishAsync(
          telemetryTopic('ann', 'd1'),
          JSON.stringify({ time: Date.now(), sequence_id: ++sequence, temperature }),
          { qos: 1 },
        );
      const types = () => events.events.map(({ type, value }) => [type, value]);
      await publish(81);
      await eventually('it fires', () => types().length === 1);
      await pooler.stop();
      await publish(20);
      await pooler.start();
      await eventually('it resolves', () => types().length === 2, 30_000);
      expect(types()).toEqual([
        ['FIRED', 81],
        ['RESOLVED', 20],
      ]);
      await eventually('both by MQTT', () => on('users/ann/alerts').length === 2, 20_000);
      const { user } = await query(
        second.graphqlUrl,
        `{ user(id: "ann") { device(deviceId: "d1") { readings(first: 5) { nodes { sequenceId } } } } }`,
      );
      expect(user.device.readings.nodes).toHaveLength(2);
    } finally {
      await events.leave();
      await client.endAsync(true);
    }
    expect(events.errors).toEqual([]);
  }, 90_000);

  test('the locks of the elected are held past the pooler', async () => {
    const held = await db.sql`
      SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND objid IN (7205005, 7205007) ORDER BY objid`;
    expect(held.map(({ objid }) => Number(objid))).toEqual([7205005, 7205007]);
  }, 20_000);
});
