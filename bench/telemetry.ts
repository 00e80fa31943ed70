/** `bun bench/telemetry.ts`: telemetry from readings alone, and from rollups, as JSON and a table. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import pino from 'pino';
import { buckets } from '../src/domain/buckets.ts';
import { type Duration, parseDuration } from '../src/domain/duration.ts';
import { type Zone, zone } from '../src/domain/zone.ts';
import { startPostgres } from '../src/embedded/postgres.ts';
import { createRollUp } from '../src/engine/roll-up.ts';
import { model } from '../src/model.ts';
import { connect, type Sql } from '../src/store/connection.ts';
import { migrate } from '../src/store/migrate.ts';
import { createPartitionMaker } from '../src/store/partitions.ts';
import { telemetryBuckets } from '../src/store/telemetry-buckets.ts';

const YEAR = { from: Date.UTC(2025, 0, 1) * 1_000, to: Date.UTC(2026, 0, 1) * 1_000 };
const DAY = { from: Date.UTC(2025, 5, 11) * 1_000, to: Date.UTC(2025, 5, 12) * 1_000 };
const DEVICES = 100;
const TIMES = 9;

const QUESTIONS = [
  { name: 'year as days', range: YEAR, bucket: '1d', devices: 1 },
  { name: 'year as days of Nepal', range: YEAR, bucket: '1d', zone: 'Asia/Kathmandu', devices: 1 },
  { name: 'year as hours', range: YEAR, bucket: '1h', devices: 1 },
  { name: 'year as days, dotted key', range: YEAR, bucket: '1d', devices: 1, key: 'engine.rpm' },
  { name: '100 devices, day in 5 min', range: DAY, bucket: '5m', devices: DEVICES },
  { name: '100 devices, day in 1 h', range: DAY, bucket: '1h', devices: DEVICES },
];

const { url } = new Command('telemetry')
  .description('Telemetry of a year of minute readings, from readings alone and from rollups')
  .option('--url <url>', 'of a superuser on another server, whose database "bench" is made anew')
  .parse()
  .opts<{ url?: string }>();

await onServer(async (serverUrl) => {
  const admin = connect(serverUrl, { max: 1 });
  await admin.unsafe('DROP DATABASE IF EXISTS bench WITH (FORCE)');
  await admin.unsafe('CREATE DATABASE bench');
  const database = new URL(serverUrl);
  database.pathname = '/bench';
  const sql = connect(database.href, { max: 2 });
  await fill(sql);
  const raw = await measure(sql);
  const builtMs = await build(sql);
  const rolled = await measure(sql);
  const results = QUESTIONS.map(({ name }, n) => ({ name, raw: raw[n], rolled: rolled[n] }));
  for (const { name, raw, rolled } of results) {
    console.error(`${name.padEnd(28)} raw ${shown(raw)}  with rollups ${shown(rolled)}`);
  }
  console.error(`${'rolling all of it up'.padEnd(28)} ${shown(builtMs)}`);
  console.log(JSON.stringify({ unit: 'ms, the fastest of several', results, builtMs }, null, 2));
  await sql.end();
  await admin.end();
});

async function onServer(run: (url: string) => Promise<void>): Promise<void> {
  if (url !== undefined) return await run(url);
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-bench-'));
  const logger = pino({ level: 'error' });
  const postgres = await startPostgres({ dataDir: folder, port: 0, logger });
  try {
    await run(postgres.url);
  } finally {
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A year of one device, and three days of the others, in order of time. */
async function fill(sql: Sql): Promise<void> {
  await migrate(sql, model);
  const months = Array.from({ length: 12 }, (_, month) => Date.UTC(2025, month) * 1_000);
  await createPartitionMaker(sql, model).ensure(months);
  await sql.unsafe(`
    INSERT INTO ${model.table}
    SELECT t, 'user_1', 'dev_' || d, extract(epoch FROM t)::bigint, 50 + 20 * sin(d + n / 500.0),
      n % 100, '{"engine": {"rpm": 3000}, "pressure": 101, "vibration": 3}'
    FROM generate_series('2025-01-01Z'::timestamptz, '2025-12-31T23:59Z', '1 minute')
        WITH ORDINALITY AS minute (t, n), generate_series(0, ${DEVICES - 1}) AS d
    WHERE d = 0 OR t >= '2025-06-10Z' AND t < '2025-06-13Z'`);
  await sql.unsafe(`VACUUM ANALYZE ${model.table}`);
}

async function build(sql: Sql): Promise<number> {
  const round = createRollUp({ sql, model, signal: new AbortController().signal });
  const started = performance.now();
  while (await round()) {}
  return performance.now() - started;
}

async function measure(sql: Sql): Promise<number[]> {
  const fastest: number[] = [];
  for (const question of QUESTIONS) {
    const bucket = parseDuration(question.bucket) as Duration;
    const query = {
      userId: 'user_1',
      deviceIds: Array.from({ length: question.devices }, (_, n) => `dev_${n}`),
      keys: [question.key ?? 'temperature'],
      range: question.range,
      buckets: buckets(question.range, bucket, zone(question.zone ?? 'UTC') as Zone),
      width: bucket.micros > 0 ? bucket.micros : null,
      ends: true,
    };
    const times: number[] = [];
    for (let n = 0; n < TIMES; n++) {
      const started = performance.now();
      await telemetryBuckets(sql, model, query);
      times.push(performance.now() - started);
    }
    // Other work on the machine only ever adds.
    fastest.push(Math.min(...times));
  }
  return fastest;
}

function shown(ms: number | undefined): string {
  return `${Math.round(ms ?? 0)} ms`.padStart(8);
}
