/** `bun bench/backtest.ts`: a rule over a month of minute readings, as JSON and a table. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import type { RuleDraft } from '../src/domain/rule-fields.ts';
import { type Zone, zone } from '../src/domain/zone.ts';
import { startPostgres } from '../src/embedded/postgres.ts';
import { model } from '../src/model.ts';
import { createContext, type SchemaDeps } from '../src/schema/context.ts';
import { runBacktest } from '../src/schema/run-backtest.ts';
import { connect, type Sql } from '../src/store/connection.ts';
import { migrate } from '../src/store/migrate.ts';
import { createPartitionMaker } from '../src/store/partitions.ts';

const FROM = Date.UTC(2026, 0, 1) * 1_000;
const TO = Date.UTC(2026, 0, 31) * 1_000;
const DEVICES = 20;
const TIMES = 5;

const COMMON = { id: null, message: 'm', severity: 'INFO', enabled: true } as const;
const HOT = { ...COMMON, key: 'temperature', operator: '>', threshold: 69.5 } as const;
const QUESTIONS: { name: string; draft: RuleDraft; devices: number }[] = [
  { name: 'a declared column', draft: HOT, devices: 1 },
  {
    name: 'held and with hysteresis',
    draft: { ...HOT, for: 'PT5M', clear: { threshold: 60 } },
    devices: 1,
  },
  { name: 'a dotted path', draft: { ...HOT, key: 'engine.rpm', threshold: 2_999 }, devices: 1 },
  { name: 'no data', draft: { ...COMMON, noData: 'PT10M' }, devices: 1 },
  { name: '20 devices', draft: HOT, devices: DEVICES },
];

const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-bench-'));
const postgres = await startPostgres({
  dataDir: folder,
  port: 0,
  logger: pino({ level: 'error' }),
});
try {
  const sql = connect(postgres.url, { max: 2 });
  await fill(sql);
  const results = [];
  for (const question of QUESTIONS) {
    const result = await measure(sql, question);
    results.push({ name: question.name, ...result });
    const { ms, readings, episodes, rssMiB } = result;
    console.error(
      `${question.name.padEnd(28)} ${ms.toFixed(0).padStart(6)} ms  ${readings} readings  ` +
        `${episodes} episodes  RSS ${rssMiB} MiB`,
    );
  }
  console.log(JSON.stringify({ unit: 'ms, median', results }, null, 2));
  await sql.end();
} finally {
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function fill(sql: Sql): Promise<void> {
  await migrate(sql, model);
  await createPartitionMaker(sql, model).ensure([FROM]);
  await sql.unsafe(`
    INSERT INTO ${model.table}
    SELECT '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 minute', 'user_1', 'dev_' || d, n,
      50 + 20 * sin(d + n / 50.0), n % 100,
      jsonb_build_object('engine', jsonb_build_object('rpm', n % 3001), 'pressure', 101.25)
    FROM generate_series(0, 43199) n, generate_series(1, ${DEVICES}) d ORDER BY n;
    INSERT INTO device_state (user_id, device_id, partition, version, first_seen_at,
      last_arrival_at, rules)
    SELECT 'user_1', 'dev_' || d, 0, 1, now(), now(), '{"version": 0, "rules": {}}'
    FROM generate_series(1, ${DEVICES}) d`);
  await sql.unsafe('VACUUM ANALYZE');
}

async function measure(sql: Sql, { draft, devices }: (typeof QUESTIONS)[number]) {
  const deviceIds = Array.from({ length: devices }, (_, d) => `dev_${d + 1}`);
  const timezone = zone('UTC') as Zone;
  const range = { userId: 'user_1', ruleId: null, from: FROM, to: TO, timezone };
  const times: number[] = [];
  let found = { readings: 0, episodes: 0 };
  for (let n = 0; n < TIMES; n++) {
    const context = createContext({ sql, model } as unknown as SchemaDeps, { kind: 'operator' });
    const since = performance.now();
    const { readings, episodeCount } = await runBacktest(context, { ...range, draft, deviceIds });
    times.push(performance.now() - since);
    found = { readings, episodes: episodeCount };
  }
  const ms = times.sort((a, b) => a - b)[TIMES >> 1] as number;
  return { ms, ...found, rssMiB: Math.round(process.memoryUsage().rss / 2 ** 20) };
}
