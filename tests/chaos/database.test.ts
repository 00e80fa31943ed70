import { afterEach, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { model } from '../../src/model.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { migrate } from '../../src/store/migrate.ts';
import {
  type EngineStage,
  engineStage,
  HOT,
  message,
  microsAt,
  type RunningEngine,
  type Sent,
  writeRules,
} from '../engine/engine-stage.ts';
import { expectedTransitions, type Step } from '../support/alert-oracle.ts';
import { eventually } from '../support/process.ts';

const DEVICES = ['d1', 'd2', 'd3', 'd4', 'd5', 'd6'];
const ROUNDS = 400;
const TIMEOUT_MS = 60_000;

let stage: EngineStage | undefined;
let postgres: EmbeddedPostgres | undefined;
let dataDir: string | undefined;
afterEach(async () => {
  await stage?.close();
  await stage?.sql.end({ timeout: 0 });
  await postgres?.stop(2_000);
  if (dataDir) await rm(dataDir, { recursive: true, force: true });
  stage = postgres = dataDir = undefined;
}, 30_000);

/** A server of its own, as it is to be killed. */
async function ownServer(): Promise<{ url: string; sql: Sql; drop(): Promise<void> }> {
  dataDir = await mkdtemp(join(tmpdir(), 'pulsegraph-chaos-'));
  postgres = await startPostgres({ dataDir, port: 0, logger: pino({ level: 'silent' }) });
  const sql = connect(postgres.url, { max: 4, applicationName: 'test' });
  await migrate(sql, model);
  return { url: postgres.url, sql, drop: async () => {} };
}

/** A device's readings: slowly up and down over the threshold, some sent twice, some late. */
function seriesOf(device: string, index: number): Sent[] {
  return Array.from({ length: ROUNDS }, (_, n) => {
    const late = n % 37 === 36;
    const temperature = 80 + Math.round(30 * Math.sin((n + 5 * index) / 7));
    return { device, at: (late ? n - 20 : n) / 2, seq: n, temperature };
  });
}

function expectedEvents(engine: RunningEngine, sent: readonly Sent[]): string[] {
  const found = engine.rules.rulesFor(['ann']);
  if (found instanceof Promise) throw new Error('the rules of ann are not in memory');
  const ruleSet = found.get('ann') as Step['ruleSet'];
  return DEVICES.flatMap((device) => {
    const steps = sent
      .filter((one) => one.device === device)
      .map(
        ({ at, seq, temperature = null }): Step => ({
          ruleSet,
          reading: {
            userId: 'ann',
            deviceId: device,
            time: microsAt(at),
            sequenceId: seq,
            columns: { temperature },
            extra: null,
          },
        }),
      );
    return expectedTransitions(steps, 'hot').map(
      ({ type, time }) => `${type} hot ${device} @ ${(time - microsAt(0)) / 1e6}`,
    );
  }).sort();
}

/** Sends all, with `harm` done again and again meanwhile, and compares what came of it. */
async function survives(
  on: EngineStage,
  harm: (round: number) => Promise<unknown>,
): Promise<RunningEngine> {
  const one = await on.start();
  await writeRules(on.sql, 'ann', [HOT], one);
  await Promise.resolve(one.rules.rulesFor(['ann']));
  const all = DEVICES.map(seriesOf);
  const sent: Sent[] = [];
  for (let n = 0; n < ROUNDS; n++) {
    for (const series of all) {
      const reading = series[n] as Sent;
      sent.push(reading);
      if (n % 23 === 22) sent.push(reading);
    }
  }
  let sending = true;
  const harming = (async () => {
    for (let round = 0; sending; round++) await harm(round);
  })();
  for (let from = 0; from < sent.length; from += 20) {
    const part = sent.slice(from, from + 20);
    await Promise.all(part.map((reading) => on.log.append(message(reading))));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  sending = false;
  await harming;
  await on.stored();
  const rows = await on.sql<{ device_id: string; n: number; kinds: number }[]>`
    SELECT device_id, count(*) AS n, count(DISTINCT sequence_id) AS kinds
    FROM raw_telemetry GROUP BY device_id ORDER BY device_id`;
  expect([...rows]).toEqual(DEVICES.map((device_id) => ({ device_id, n: ROUNDS, kinds: ROUNDS })));
  expect((await on.events()).sort()).toEqual(expectedEvents(one, sent));
  const [open] = await on.sql`
    SELECT count(*) AS n FROM alerts a WHERE status = 'FIRING' AND NOT EXISTS (
      SELECT FROM device_state d WHERE d.device_id = a.device_id
        AND d.rules->'rules'->'hot'->'episode'->>'alertId' = a.id)`;
  expect(open?.n).toBe(0);
  expect(await on.count('dead_letters')).toBe(0);
  return one;
}

test(
  'connections that are ended at any moment, also in COMMIT, lose and double nothing',
  async () => {
    stage = await engineStage({ partitions: 2 });
    const { sql } = stage;
    let ended = 0;
    const one = await survives(stage, async (round) => {
      const rows = await sql`
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
          AND application_name IN ('lane', 'engine')
          AND (${round % 3 !== 0} OR query = 'commit' OR query ~ 'pulsegraph_begin_batch')`;
      ended += rows.length;
      await new Promise((resolve) => setTimeout(resolve, rows.length > 0 ? 30 : 1));
    });
    expect(ended).toBeGreaterThan(10);
    expect(one.engine.status().lanes.map(({ state }) => state)).toEqual(['RUNNING', 'RUNNING']);
  },
  TIMEOUT_MS,
);

test(
  'a database that is killed again and again loses and doubles nothing',
  async () => {
    stage = await engineStage({ partitions: 2, database: await ownServer() });
    const { sql } = stage;
    let kills = 0;
    await survives(stage, async () => {
      if (kills < 3 && postgres) {
        const pid = postgres.pid();
        process.kill(pid, 'SIGKILL');
        kills++;
        await eventually(
          'the server is back',
          async () => {
            if (postgres?.pid() === pid) return false;
            return await sql`SELECT 1`.then(
              () => true,
              () => false,
            );
          },
          30_000,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 300));
    });
    // On a busy machine the server may take longer to come back than the readings to be sent.
    expect(kills).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);
