import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { model } from '../../src/model.ts';
import { changeRules } from '../../src/store/change-rules.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { migrate } from '../../src/store/migrate.ts';
import { type EngineStage, engineStage, HOT, message, writeRules } from '../engine/engine-stage.ts';
import { noPgBouncer, type PgBouncer, startPgBouncer } from '../support/pgbouncer.ts';
import { eventually } from '../support/process.ts';

const TIMEOUT_MS = 90_000;
const DEVICES = 8;

/** A PostgreSQL of its own, since it is killed, with a pooler in front, and the engine on that. */
describe.skipIf(noPgBouncer)('the engine through PgBouncer in transaction mode', () => {
  let dataDir: string;
  let postgres: EmbeddedPostgres;
  let pooler: PgBouncer;
  let direct: Sql;
  let stage: EngineStage;

  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'pulsegraph-pooler-'));
    postgres = await startPostgres({
      dataDir,
      port: 0,
      logger: pino({ level: 'silent' }),
      // What was committed has to outlive the process, not the machine.
      settings: { fsync: 'off' },
    });
    direct = connect(postgres.url, { max: 2, applicationName: 'test' });
    await migrate(direct, model);
  }, TIMEOUT_MS);

  afterEach(async () => {
    await stage?.close();
    await pooler?.remove();
    await direct?.end({ timeout: 1 });
    await postgres?.stop(2_000);
    rmSync(dataDir, { recursive: true, force: true });
  }, TIMEOUT_MS);

  async function open(poolSize: number): Promise<void> {
    pooler = await startPgBouncer(postgres.url, { poolSize });
    const drop = async () => {};
    const database = { url: pooler.url, sql: direct, drop };
    stage = await engineStage({ partitions: 4, database });
  }

  /** Every tenth reading is hot: each device fires and resolves once for every ten of its own. */
  async function send(from: number, to: number): Promise<void> {
    const sent = [];
    for (let n = from; n < to; n++) {
      const temperature = Math.floor(n / DEVICES) % 10 === 9 ? 90 : 20;
      sent.push({ device: `d${n % DEVICES}`, at: n / 100, seq: n, temperature });
    }
    await stage.send(...sent);
  }

  async function expectEachOnce(count: number): Promise<void> {
    const [row] = await direct<{ stored: number; distinct: number }[]>`
      SELECT count(*) AS stored, count(DISTINCT sequence_id) AS distinct FROM raw_telemetry`;
    expect(row).toEqual({ stored: count, distinct: count });
    const events = await direct<{ type: string; n: number }[]>`
      SELECT type, count(*) AS n FROM alert_events GROUP BY type ORDER BY type`;
    const episodes = Math.floor(count / 10);
    expect(events.map(({ type, n }) => [type, n])).toEqual([
      ['FIRED', episodes],
      ['RESOLVED', episodes - DEVICES],
    ]);
  }

  test(
    'one server connection is enough for all that it does at once: nothing waits in a circle',
    async () => {
      await open(1);
      const running = await stage.start();
      await writeRules(direct, 'ann', [HOT], running);
      const sql = connect(pooler.url, { max: 4 });
      try {
        const changes = Array.from({ length: 20 }, (_, n) =>
          changeRules(sql, {
            userId: `other_${n % 3}`,
            change: (current) => ({ ...current, shorthands: { temperature_max: n } }),
            actor: 'test',
            model,
          }),
        );
        // A replay of what is stored goes in by INSERT, the rest by COPY.
        await send(0, 800);
        await Promise.all(changes);
        await stage.stored();
        await send(400, 1_600);
        await stage.stored();
      } finally {
        await sql.end({ timeout: 1 });
      }
      await expectEachOnce(1_600);
    },
    TIMEOUT_MS,
  );

  test(
    'PgBouncer killed and started again under load: every reading and transition once',
    async () => {
      await open(5);
      const running = await stage.start();
      await writeRules(direct, 'ann', [HOT], running);
      let sent = 0;
      for (let round = 0; round < 4; round++) {
        const sending = send(sent, sent + 800);
        await eventually('some is stored', async () => (await stage.count('watermarks')) > 0);
        await pooler.stop();
        await pooler.start();
        await sending;
        sent += 800;
      }
      await stage.stored();
      await expectEachOnce(sent);
      expect(running.engine.status().counters.deadLetters).toBe(0);
    },
    TIMEOUT_MS,
  );

  test(
    'PostgreSQL killed behind it under load: every reading and transition once',
    async () => {
      await open(5);
      const running = await stage.start();
      await writeRules(direct, 'ann', [HOT], running);
      let sent = 0;
      for (let round = 0; round < 3; round++) {
        const sending = send(sent, sent + 800);
        await eventually(
          'it is writing',
          () => running.engine.status().counters.batches > sent / 800,
        );
        const killed = postgres.pid();
        process.kill(killed, 'SIGKILL');
        await sending;
        await eventually('PostgreSQL is back', () => postgres.pid() !== killed, 30_000);
        sent += 800;
      }
      await eventually(
        'all is stored',
        () => running.engine.status().lanes.every(({ lag }) => lag === 0),
        30_000,
      );
      await stage.stored();
      await expectEachOnce(sent);
      expect(running.engine.status().counters.deadLetters).toBe(0);
    },
    TIMEOUT_MS,
  );

  test(
    'a message that no reading can be made of becomes a dead letter, and its neighbours are stored',
    async () => {
      await open(2);
      await stage.start();
      await send(0, 40);
      await stage.log.append({ ...message({ at: 1, seq: 1 }), value: new Uint8Array([0xff]) });
      await send(40, 80);
      await stage.stored();
      expect(await stage.count('dead_letters')).toBe(1);
      expect(await stage.count('raw_telemetry')).toBe(80);
    },
    TIMEOUT_MS,
  );
});
