import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { startPostgres } from '../src/embedded/postgres.ts';
import { createEngine } from '../src/engine/index.ts';
import { createRuleBook } from '../src/engine/rule-book.ts';
import { openEmbeddedLog } from '../src/engine/sources/embedded-log.ts';
import { createEmbeddedSource } from '../src/engine/sources/embedded-source.ts';
import { model } from '../src/model.ts';
import { connect, type Sql } from '../src/store/connection.ts';
import { migrate } from '../src/store/migrate.ts';
import { createPartitionMaker } from '../src/store/partitions.ts';
import { type BenchRecord, makeRecords, RULES, userName, type Workload } from './workload.ts';

export interface IngestResult {
  workload: string;
  /** Rows per second of each round. */
  ceiling: number[];
  pulsegraph: number[];
  /** Median of the ratios pulsegraph / ceiling, round by round. */
  ratio: number;
}

const logger = pino({ level: 'error' });
const CEILING_CONNECTIONS = 4;
const ROWS_PER_TRANSACTION = 1_000;

/** Log -> Postgres with five rules per user, against COPY of the same rows with nothing else. */
export async function benchIngest(workload: Workload, rounds: number): Promise<IngestResult> {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-bench-'));
  const postgres = await startPostgres({ dataDir: folder, port: 0, logger });
  const records = makeRecords(workload);
  const result: IngestResult = { workload: workload.name, ceiling: [], pulsegraph: [], ratio: 0 };
  try {
    for (let round = 0; round < rounds; round++) {
      result.ceiling.push(await onFreshDatabase(postgres.url, (url) => ceiling(url, records)));
      result.pulsegraph.push(
        await onFreshDatabase(postgres.url, (url) =>
          pulsegraph(url, records, workload, join(folder, `log-${round}.sqlite`)),
        ),
      );
    }
  } finally {
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  const ratios = result.pulsegraph.map((rate, i) => rate / (result.ceiling[i] ?? 1));
  result.ratio = ratios.sort((a, b) => a - b)[ratios.length >> 1] ?? 0;
  return result;
}

async function onFreshDatabase(
  url: string,
  run: (url: string) => Promise<number>,
): Promise<number> {
  const admin = connect(url, { max: 1 });
  await admin.unsafe('DROP DATABASE IF EXISTS bench WITH (FORCE)');
  await admin.unsafe('CREATE DATABASE bench');
  const bench = new URL(url);
  bench.pathname = '/bench';
  const sql = connect(bench.href, { max: 1 });
  await migrate(sql, model);
  await sql.end();
  await admin.unsafe('CHECKPOINT');
  await admin.end();
  return await run(bench.href);
}

async function ceiling(url: string, records: readonly BenchRecord[]): Promise<number> {
  const lines = records.map((record) => record.copyLine).filter((line) => line !== '');
  const chunks: Buffer[] = [];
  for (let i = 0; i < lines.length; i += ROWS_PER_TRANSACTION) {
    chunks.push(Buffer.from(lines.slice(i, i + ROWS_PER_TRANSACTION).join('')));
  }
  const sql = connect(url, { max: CEILING_CONNECTIONS });
  await createPartitionMaker(sql, model).ensure([Date.UTC(2026, 0, 1) * 1000]);
  let next = 0;
  const copy = async (connection: Sql) => {
    while (next < chunks.length) {
      const chunk = chunks[next++] as Buffer;
      await connection.begin(async (tx) => {
        const stream = await tx.unsafe(`COPY ${model.table} FROM STDIN`).writable();
        await new Promise<void>((resolve, reject) => {
          stream.once('error', reject).once('finish', resolve);
          stream.end(chunk);
        });
      });
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: CEILING_CONNECTIONS }, () => copy(sql)));
  const seconds = (performance.now() - started) / 1000;
  await sql.end();
  return lines.length / seconds;
}

async function pulsegraph(
  url: string,
  records: readonly BenchRecord[],
  workload: Workload,
  file: string,
): Promise<number> {
  const sql = connect(url, { max: 10 });
  await setRules(sql, workload.users);
  const log = await openEmbeddedLog({ file, topic: 'iot-stream', partitions: 4, logger });
  const detach = log.attach('bench');
  const appends: Promise<void>[] = [];
  for (const record of records) appends.push(log.append(record));
  await Promise.all(appends);
  const rules = createRuleBook({ sql, model, logger });
  await rules.start();
  await rules.refresh();
  const engine = createEngine(
    {
      source: createEmbeddedSource({ log, groupId: 'bench' }),
      sql,
      openSql: () => connect(url, { max: 2 }),
      rules,
      tail: { poke: () => {} },
      model,
      logger,
    },
    {
      policy: { maxRows: 1_000, maxWaitMs: 100 },
      maxPayloadBytes: 65_536,
      maxClockSkew: 300_000_000,
      maxCachedDevices: 50_000,
      feedCapacity: 1_000,
    },
  );
  const started = performance.now();
  await engine.start();
  const stored = () => {
    const { lanes } = engine.status();
    return lanes.length === 4 && lanes.every((lane) => lane.lag === 0);
  };
  while (!stored()) await Bun.sleep(5);
  const seconds = (performance.now() - started) / 1000;
  const { counters } = engine.status();
  await engine.stop(5_000);
  await rules.close();
  detach();
  await log.close();
  await check(sql, records);
  await sql.end();
  if (counters.transitions === 0) throw new Error('the workload fired no alert');
  return records.length / seconds;
}

/** A fast answer that lost a row would be no answer. */
async function check(sql: Sql, records: readonly BenchRecord[]): Promise<void> {
  const expected = records.filter((record) => record.copyLine !== '').length;
  const [row] = await sql.unsafe<{ n: number }[]>(`SELECT count(*) AS n FROM ${model.table}`);
  if (row?.n !== expected) throw new Error(`${row?.n} rows are stored instead of ${expected}`);
}

async function setRules(sql: Sql, users: number): Promise<void> {
  const names = Array.from({ length: users }, (_, i) => userName(i));
  await sql`
    INSERT INTO user_configs (user_id, rules)
    SELECT name, ${JSON.stringify(RULES)}::text::jsonb
    FROM json_array_elements_text(${JSON.stringify(names)}::text::json) AS name`;
}
