import { type Bucket, buckets } from '../src/domain/buckets.ts';
import { type Duration, parseDuration } from '../src/domain/duration.ts';
import { type Zone, zone } from '../src/domain/zone.ts';
import { createRollUp } from '../src/engine/roll-up.ts';
import { model } from '../src/model.ts';
import { connect, type Sql } from '../src/store/connection.ts';
import { createPartitionMaker } from '../src/store/partitions.ts';
import { telemetryBuckets } from '../src/store/telemetry-buckets.ts';
import { startServer } from './database.ts';
import type { Around, Row, Suite } from './suite.ts';

const DAY_MS = 86_400_000;
const JUNE_MS = Date.UTC(2025, 5, 1);
const YEAR_MS = Date.UTC(2025, 0, 1);
const DEVICES = 100;
const TIMES = 7;

interface Case {
  devices: number;
  fromMs: number;
  toMs: number;
  bucket: string;
  /** The same in SQL. */
  bin: string;
}

const NOON_MS = JUNE_MS + 10 * DAY_MS + DAY_MS / 2;
const RANGES: Record<string, Omit<Case, 'devices'>> = {
  'an hour in minutes': {
    ...{ fromMs: NOON_MS, toMs: NOON_MS + 3_600_000 },
    ...{ bucket: '1m', bin: `date_trunc('minute', time)` },
  },
  'a day in 5 minutes': {
    ...{ fromMs: JUNE_MS + 10 * DAY_MS, toMs: JUNE_MS + 11 * DAY_MS },
    ...{ bucket: '5m', bin: `date_bin('5 minutes', time, 'epoch')` },
  },
  'a month in hours': {
    ...{ fromMs: JUNE_MS, toMs: JUNE_MS + 30 * DAY_MS },
    ...{ bucket: '1h', bin: `date_trunc('hour', time)` },
  },
  'a year in days': {
    ...{ fromMs: YEAR_MS, toMs: YEAR_MS + 365 * DAY_MS },
    ...{ bucket: '1d', bin: `date_trunc('day', time)` },
  },
};

const CASES: Record<string, Case> = {};
for (const devices of [1, DEVICES]) {
  for (const [name, range] of Object.entries(RANGES)) {
    CASES[`${name}, ${devices === 1 ? 'one device' : `${devices} devices`}`] = {
      ...range,
      devices,
    };
  }
}

export const queriesSuite: Suite = {
  name: 'queries',
  title: 'Telemetry in buckets',
  about:
    'Count, sum, min, max, first and last of one column, as the API asks for them; the fastest of ' +
    `${TIMES}, in milliseconds. One device has a reading each minute of a year; ${DEVICES - 1} ` +
    'others have that in June, and one an hour in the other months. Plain: GROUP BY over the same ' +
    'readings, without first and last, and without rollups.',
  columns: [
    { key: 'pulsegraph', title: 'Pulsegraph, ms', digits: 1 },
    { key: 'plain', title: 'plain GROUP BY', digits: 1 },
    { key: 'ratio', title: 'of the plain', digits: 2 },
    { key: 'buckets', title: 'buckets' },
  ],
  cases: Object.keys(CASES),
  measure,
};

async function* measure(cases: readonly string[], { quick }: Around): AsyncGenerator<Row, void> {
  const server = await startServer();
  try {
    const sql = connect(await server.freshDatabase(), { max: 2 });
    await fill(sql, quick);
    for (const name of cases) {
      const one = CASES[name] as Case;
      const { found, ms } = await fastest(() => ask(sql, one));
      const { found: rows, ms: plain } = await fastest(() => askPlainly(sql, one));
      if (found !== rows) throw new Error(`${name}: ${found} buckets, plainly ${rows}`);
      yield { name, pulsegraph: ms, plain, ratio: ms / plain, buckets: found };
    }
    await sql.end();
  } finally {
    await server.remove();
  }
}

/** In order of time, as readings come, and rolled up. */
async function fill(sql: Sql, quick: boolean): Promise<void> {
  const months = Array.from({ length: 12 }, (_, month) => Date.UTC(2025, month) * 1_000);
  await createPartitionMaker(sql, model).ensure(months);
  const others = quick ? 9 : DEVICES - 1;
  await sql.unsafe(`
    INSERT INTO ${model.table}
    SELECT t, 'user_1', 'dev_' || d, extract(epoch FROM t)::bigint, 50 + 20 * sin(d + n / 500.0),
      n % 100, '{"engine": {"rpm": 3000}, "pressure": 101, "vibration": 3}'
    FROM generate_series('2025-01-01Z'::timestamptz, '2025-12-31T23:59Z', '1 minute')
        WITH ORDINALITY AS minute (t, n), generate_series(0, ${others}) AS d
    WHERE d = 0 OR t >= '2025-06-01Z' AND t < '2025-07-01Z' OR n % 60 = 1`);
  const round = createRollUp({ sql, model, signal: new AbortController().signal });
  while (await round()) {}
  await sql.unsafe('VACUUM ANALYZE');
}

async function ask(sql: Sql, { devices, fromMs, toMs, bucket: text }: Case): Promise<number> {
  const bucket = parseDuration(text) as Duration;
  const range = { from: fromMs * 1_000, to: toMs * 1_000 };
  const rows = await telemetryBuckets(sql, model, {
    userId: 'user_1',
    deviceIds: names(devices),
    keys: ['temperature'],
    range,
    buckets: buckets(range, bucket, zone('UTC') as Zone) as Bucket[],
    width: bucket.micros > 0 ? bucket.micros : null,
    ends: true,
  });
  return rows.length;
}

async function askPlainly(sql: Sql, { devices, fromMs, toMs, bin }: Case): Promise<number> {
  const [from, to] = [new Date(fromMs).toISOString(), new Date(toMs).toISOString()];
  const list = names(devices)
    .map((name) => `'${name}'`)
    .join(', ');
  const rows = await sql.unsafe(`
    SELECT device_id, ${bin} AS bucket, count(temperature), sum(temperature), min(temperature),
      max(temperature)
    FROM ${model.table}
    WHERE user_id = 'user_1' AND device_id IN (${list}) AND time >= '${from}' AND time < '${to}'
    GROUP BY 1, 2 ORDER BY 1, 2`);
  return rows.length;
}

function names(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `dev_${n}`);
}

/** Other work on the machine only ever adds. */
async function fastest(work: () => Promise<number>): Promise<{ found: number; ms: number }> {
  const times: number[] = [];
  let found = 0;
  for (let n = 0; n < TIMES; n++) {
    const since = performance.now();
    found = await work();
    times.push(performance.now() - since);
  }
  return { found, ms: Math.min(...times) };
}
