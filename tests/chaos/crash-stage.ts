import { expect } from 'bun:test';
import type { MqttClient } from 'mqtt';
import { withDeadline } from '../../src/engine/retry.ts';
import { BATCH_REFUSED } from '../../src/store/batch-functions.ts';
import type { Sql } from '../../src/store/connection.ts';
import { HOT } from '../engine/engine-stage.ts';
import { Cleanup } from '../mqtt/helpers.ts';
import { type Child, type Places, ready, spawnApp } from '../support/app.ts';
import { connectClient, type Heard, listen, telemetryTopic } from '../support/app-clients.ts';
import { testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import { type HaltPoint, type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';
import { expectForwardMoves, noteWatermarkMoves } from '../support/watermark-moves.ts';

/** The real process, with a proxy on each of its ways: to be killed at a chosen byte. */
export interface CrashStage {
  sql: Sql;
  /** To the database. */
  database: TcpProxy;
  /** To the process's own broker, or from it to an outside one. */
  mqtt: TcpProxy;
  /** From now on each batch goes statement by statement, as large ones do. */
  refuseSmallBatches(): Promise<void>;
  /** Sends readings: ten cold, ten hot and so on. Resolves when all of them are acknowledged. */
  send(count: number): Promise<void>;
  /** Until so many of the transitions are stored, and so is every reading sent. */
  stored(): Promise<void>;
  /**
   * Kills the process at that point, which `work` leads to, and starts it again.
   *
   * @param options.stored only when this many readings are stored; with no way to the database
   *   it would wait in vain
   */
  crashAt(
    proxy: TcpProxy,
    point: HaltPoint,
    options: { work: () => unknown; stored?: number },
  ): Promise<void>;
  /** Stored once, each transition once, and each of them heard, in order, under its one id. */
  expectAllOnce(): Promise<void>;
  close(): Promise<void>;
}

const USER = 'ann';
const WITHIN_MS = 30_000;
const START = Date.now() - 600_000;

/** @param options.broker its own, or an outside one, which outlives it */
export async function crashStage(options: { broker: 'embedded' | 'outside' }): Promise<CrashStage> {
  const cleanup = new Cleanup();
  const db = await testDatabase();
  cleanup.add(() => db.drop());
  const { sql } = db;
  await noteWatermarkMoves(sql);
  await sql`
    INSERT INTO user_configs (user_id, rules) VALUES (${USER}, ${sql.json([HOT] as never)})`;
  const database = await tcpProxy(db.url);
  cleanup.add(() => database.close());
  const outside = options.broker === 'outside' ? await cleanup.broker() : null;
  const way = outside && (await tcpProxy(outside.url));
  const env = {
    DATABASE_URL: database.url,
    DATABASE_DIRECT_URL: db.url,
    DATA_DIR: `${cleanup.folder()}/data`,
    PORT: '0',
    MQTT_PORT: '0',
    ...(way && { MQTT_URL: way.url }),
  };
  let child: Child = spawnApp(env);
  cleanup.add(async () => {
    child.process.kill('SIGKILL');
    await child.process.exited;
  });
  const places: Places = await ready(child);
  const own = new URL(places.MQTT).port;
  const mqtt = way ?? (await tcpProxy(places.MQTT));
  cleanup.add(() => mqtt.close());

  const client = async (clientId: string, url: string) => {
    const it = await connectClient(url, { clientId, clean: false, reconnectPeriod: 100 });
    cleanup.add(() => it.endAsync(true));
    return it;
  };
  const device: MqttClient = await client('device', outside?.url ?? mqtt.url);
  const app: MqttClient = await client('app', outside?.url ?? places.MQTT);
  const heard: Heard[] = await listen(app, `users/${USER}/alerts`);
  let sent = 0;

  async function send(count: number): Promise<void> {
    const topic = telemetryTopic(USER, 'd1');
    const all = Array.from({ length: count }, () => {
      const sequence_id = sent++;
      const temperature = Math.floor(sequence_id / 10) % 2 === 1 ? 90 : 20;
      const reading = { time: START + sequence_id * 1_000, sequence_id, temperature };
      return device.publishAsync(topic, JSON.stringify(reading), { qos: 1 });
    });
    await Promise.all(all);
  }

  const transitions = () =>
    Array.from({ length: Math.ceil(sent / 10) - 1 }, (_, n) => ({
      type: n % 2 === 0 ? 'FIRED' : 'RESOLVED',
      time: START + (n + 1) * 10_000,
    }));

  async function events() {
    return await sql<{ seq: number; id: string; type: string; time: number }[]>`
      SELECT seq, id, type, (extract(epoch FROM time) * 1000)::float8 AS time
      FROM alert_events ORDER BY seq`;
  }

  async function count(): Promise<number> {
    const [row] = await sql<{ n: number }[]>`SELECT count(*) AS n FROM raw_telemetry`;
    return row?.n ?? 0;
  }

  async function stored(): Promise<void> {
    const said = () => `${child.text.stdout}${child.text.stderr}`.slice(-3_000);
    await eventually(
      `${sent} readings`,
      async () => (await count()) >= sent && (await events()).length >= transitions().length,
      WITHIN_MS,
    ).catch(async (error: Error) => {
      const seen = `${await count()} readings, ${(await events()).length} transitions`;
      throw new Error(`${error.message}, but ${seen}\n${said()}`);
    });
    expect(await count()).toBe(sent);
  }

  return {
    sql,
    database,
    mqtt,
    async refuseSmallBatches() {
      await sql.unsafe(`
        DO $$ BEGIN
          EXECUTE (SELECT regexp_replace(pg_get_functiondef(oid), 'BEGIN',
            'BEGIN RAISE EXCEPTION ''refused'' USING ERRCODE = ''${BATCH_REFUSED}'';')
            FROM pg_proc WHERE proname = 'pulsegraph_begin_batch');
        END $$`);
    },
    send,
    stored,
    async crashAt(proxy, point, { work, stored: least = 0 }) {
      const halted = proxy.haltAt(point);
      await work();
      await withDeadline(halted, WITHIN_MS, 'coming to the point');
      await eventually('they are stored', async () => (await count()) >= least, WITHIN_MS);
      child.process.kill('SIGKILL');
      await child.process.exited;
      database.reset();
      mqtt.reset();
      child = spawnApp({ ...env, MQTT_PORT: own });
      await ready(child);
    },
    async expectAllOnce() {
      await stored();
      await expectForwardMoves(sql);
      expect([...(await sql`SELECT reason, detail FROM dead_letters`)]).toEqual([]);
      const rows = await events();
      expect(rows.map(({ type, time }) => ({ type, time }))).toEqual(transitions());
      const ids = () => [...new Set(heard.map(({ json }) => json.event_id))];
      await eventually('every transition is heard', () => ids().length >= rows.length, WITHIN_MS);
      expect(ids()).toEqual(rows.map(({ id }) => id));
      for (const { json } of heard) {
        const { seq, id, type } = rows.find((row) => row.id === json.event_id) as (typeof rows)[0];
        expect({ seq: json.seq, id: json.event_id, type: json.type }).toEqual({ seq, id, type });
      }
    },
    close: () => cleanup.end(),
  };
}
