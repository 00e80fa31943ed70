import { afterEach, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { model } from '../../src/model.ts';
import { connect } from '../../src/store/connection.ts';
import { migrate } from '../../src/store/migrate.ts';
import { type EngineStage, engineStage, message } from '../engine/engine-stage.ts';
import { eventually } from '../support/process.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';

/** From the first connection that the database takes to the first batch that it has committed. */
const BACK_WITHIN_MS = 4_000;
const TIMEOUT_MS = 60_000;

let stage: EngineStage | undefined;
let proxy: TcpProxy | undefined;
let postgres: EmbeddedPostgres | undefined;
let dataDir: string | undefined;
afterEach(async () => {
  await stage?.close();
  await proxy?.close();
  await postgres?.stop(2_000);
  if (dataDir) await rm(dataDir, { recursive: true, force: true });
  stage = proxy = postgres = dataDir = undefined;
}, 30_000);

/** Sends a reading of each of ten devices every 20 ms. */
function load(on: EngineStage) {
  let seq = 0;
  const timer = setInterval(() => {
    seq++;
    for (let n = 0; n < 10; n++) {
      void on.log.append(message({ device: `d${n}`, at: seq / 100, seq, temperature: 20 }));
    }
  }, 20);
  return {
    seq: () => seq,
    end: () => clearInterval(timer),
  };
}

async function accepts(url: string): Promise<boolean> {
  const sql = connect(url, { max: 1, applicationName: 'test' });
  const isThere = await sql`SELECT ${1}::int`.then(
    () => true,
    () => false,
  );
  await sql.end({ timeout: 0 });
  return isThere;
}

test(
  'after a kill of the server under load, lanes write again at once',
  async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'pulsegraph-recovery-'));
    postgres = await startPostgres({ dataDir, port: 0, logger: pino({ level: 'silent' }) });
    const { url } = postgres;
    const sql = connect(url, { max: 2, applicationName: 'test' });
    await migrate(sql, model);
    const database = { url, sql, drop: async () => {} };
    stage = await engineStage({ partitions: 2, database });
    const { engine } = await stage.start();
    const sending = load(stage);
    const watermarks = () => engine.status().lanes.map(({ watermark }) => watermark);
    try {
      for (let round = 0; round < 4; round++) {
        const before = watermarks();
        await eventually('all lanes write', () =>
          watermarks().every((w, i) => w > (before[i] ?? 0)),
        );
        const pid = postgres.pid();
        process.kill(pid, 'SIGKILL');
        const stood = watermarks();
        await eventually('the server is back', () => accepts(url), 30_000);
        const since = performance.now();
        await eventually(
          'all lanes write again',
          () => watermarks().every((w, i) => w > (stood[i] as number)),
          20_000,
        );
        const took = performance.now() - since;
        expect(took).toBeLessThan(BACK_WITHIN_MS);
      }
    } finally {
      sending.end();
    }
    await stage.stored();
    expect(await stage.count('raw_telemetry')).toBe(sending.seq() * 10);
    await sql.end({ timeout: 0 });
  },
  TIMEOUT_MS,
);

test(
  'after a long outage, lanes write again as soon',
  async () => {
    stage = await engineStage({ partitions: 2 });
    proxy = await tcpProxy(stage.db.url);
    const { engine } = await stage.start({ laneUrl: proxy.url });
    const sending = load(stage);
    const lanes = () => engine.status().lanes;
    try {
      await eventually('all lanes write', () => lanes().every(({ watermark }) => watermark > 0));
      proxy.hangUp();
      const from = performance.now();
      // Until the pauses between two tries are as long as they get.
      await eventually('a long outage', () => performance.now() - from > 12_000, 15_000);
      expect(lanes().map(({ state }) => state)).toEqual(['WAITING', 'WAITING']);
      const stood = lanes().map(({ watermark }) => watermark);
      proxy.pickUp();
      const since = performance.now();
      await eventually(
        'all lanes write again',
        () => lanes().every(({ watermark }, i) => watermark > (stood[i] as number)),
        20_000,
      );
      const took = performance.now() - since;
      expect(took).toBeLessThan(BACK_WITHIN_MS);
    } finally {
      sending.end();
    }
    await stage.stored();
    expect(await stage.count('raw_telemetry')).toBe(sending.seq() * 10);
  },
  TIMEOUT_MS,
);
