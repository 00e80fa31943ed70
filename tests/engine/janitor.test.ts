import { afterEach, beforeEach, expect, test } from 'bun:test';
import pino from 'pino';
import { createJanitor, type Retention, tidy } from '../../src/engine/janitor.ts';
import { model } from '../../src/model.ts';
import { alertEventRange } from '../../src/store/alert-event-range.ts';
import { connect } from '../../src/store/connection.ts';
import { createPartitionMaker } from '../../src/store/partitions.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import { engineStage } from './engine-stage.ts';

const NOW_MS = Date.parse('2026-03-15T12:00:00Z');
const KEEP_ALL: Retention = {
  readings: null,
  alerts: null,
  alertEvents: null,
  deadLetters: null,
  ruleChanges: null,
};

let db: TestDatabase;
let warnings: string[];
const logger = pino(
  { level: 'warn' },
  { write: (line: string) => void warnings.push(JSON.parse(line).err.message) },
);
beforeEach(async () => {
  db = await testDatabase();
  warnings = [];
}, 30_000);
afterEach(() => db.drop(), 30_000);

const round = (retention: Partial<Retention>, nowMs = NOW_MS) =>
  tidy({
    ...{ sql: db.sql, model, logger, nowMs, signal: new AbortController().signal },
    retention: { ...KEEP_ALL, ...retention },
  });

async function partitions(): Promise<string[]> {
  const rows = await db.sql<{ name: string }[]>`
    SELECT inhrelid::regclass::text AS name FROM pg_inherits
    WHERE inhparent = ${model.table}::regclass ORDER BY 1`;
  return rows.map(({ name }) => name.replace(`${model.table}_`, ''));
}

async function addReading(time: string): Promise<void> {
  await createPartitionMaker(db.sql, model).ensure([Date.parse(time) * 1_000]);
  await db.sql`INSERT INTO raw_telemetry (time, user_id, device_id, sequence_id)
    VALUES (${time}::text::timestamptz, 'u', 'd', 1)`;
}

test('partitions are made for this month and the next', async () => {
  await round({}, Date.parse('2026-01-31T23:00:00Z'));
  expect(await partitions()).toEqual(['2026_01', '2026_02']);
  expect((await round({}, Date.parse('2026-02-01T00:00:00Z'))).failed).toBe(false);
  expect(await partitions()).toEqual(['2026_01', '2026_02', '2026_03']);
});

test('months of readings go once all of them is too old, and a late one is gone the next time', async () => {
  for (const time of ['2024-12-31T23:59:59Z', '2026-01-01T00:00:00Z', '2026-02-13T00:00:00Z']) {
    await addReading(time);
  }
  expect(await round({ readings: 30 })).toEqual({ deleted: { readings: 2 }, failed: false });
  expect(await partitions()).toEqual(['2026_02', '2026_03', '2026_04']);
  await addReading('2024-12-31T23:59:59Z');
  expect((await round({ readings: 30 })).deleted).toEqual({ readings: 1 });
  expect((await round({ readings: 30 })).deleted).toEqual({});
  const [left] = await db.sql`SELECT count(*) AS n FROM raw_telemetry`;
  expect(left?.n).toBe(1);
});

test('a lane that knew the month stores a late reading of it none the less', async () => {
  const stage = await engineStage({ database: db });
  try {
    await stage.start();
    const daySeconds = 86_400;
    await stage.send({ at: 0, seq: 1 }, { at: -90 * daySeconds, seq: 2 });
    await stage.stored();
    expect((await round({ readings: 30 }, Date.now())).deleted).toEqual({ readings: 1 });
    await stage.send({ at: 1, seq: 3 }, { at: -90 * daySeconds, seq: 4 });
    await stage.stored();
    const rows = await db.sql`SELECT sequence_id AS n FROM raw_telemetry ORDER BY 1`;
    expect(rows.map(({ n }) => n)).toEqual([1, 3, 4]);
    expect(await stage.count('dead_letters')).toBe(0);
  } finally {
    await stage.close();
  }
}, 30_000);

test('a drop waits for readers in short tries, and is done when they are', async () => {
  await addReading('2025-01-01T00:00:00Z');
  const reader = connect(db.url, { max: 1 });
  let finish = () => {};
  const reading = reader.begin(async (tx) => {
    await tx`SELECT count(*) FROM raw_telemetry`;
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
  });
  const rounds = round({ readings: 30 });
  await eventually('the drop waits', async () => {
    const rows = await db.sql`
      SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'`;
    return rows.length > 0;
  });
  // Writers are behind it for no longer than that.
  await db.sql`INSERT INTO raw_telemetry (time, user_id, device_id, sequence_id)
    VALUES ('2026-03-01T00:00:00Z', 'u', 'd', 2)`;
  finish();
  await reading;
  expect(await rounds).toEqual({ deleted: { readings: 1 }, failed: false });
  await reader.end({ timeout: 1 });
}, 15_000);

test('transitions go when old and published, an alert when resolved and without transitions', async () => {
  const { sql } = db;
  await sql`
    INSERT INTO alerts (id, user_id, device_id, rule_id, rule_version, status, severity, message,
      started_at, last_seen_at, resolved_at, partition, "offset", sequence_id, event_time,
      arrival_time)
    SELECT 'a' || n, 'u', 'd', 'r', 1, CASE n WHEN 4 THEN 'FIRING' ELSE 'RESOLVED' END, 'INFO', 'm',
      '2024-01-01Z', '2024-01-01Z', CASE n WHEN 4 THEN NULL ELSE '2024-01-01Z'::timestamptz END,
      0, 0, 0, '2024-01-01Z', '2024-01-01Z' FROM generate_series(1, 4) n`;
  await sql`
    INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id,
      severity, message, time, started_at, created_at, published_at)
    SELECT n, 'e' || n, 'a' || n, 'FIRED', 'FIRING', 'u', 'd', 'r', 'INFO', 'm', '2024-01-01Z',
      '2024-01-01Z', '2026-01-01Z', CASE WHEN n < 3 THEN now() END FROM generate_series(1, 4) n`;
  const { deleted } = await round({ alertEvents: 30, alerts: 365 });
  expect(deleted).toEqual({ 'alert events': 2, alerts: 2 });
  expect(await alertEventRange(sql)).toEqual({ floor: 2, newest: 4 });
  await sql`UPDATE alert_events SET published_at = now()`;
  expect((await round({ alertEvents: 30 })).deleted).toEqual({ 'alert events': 2 });
  expect((await round({ alerts: 365 })).deleted).toEqual({ alerts: 1 });
  const left = await sql`SELECT id FROM alerts`;
  expect(left.map(({ id }) => id)).toEqual(['a4']);
});

test('dead letters go by the time they were stored', async () => {
  await db.sql`
    INSERT INTO dead_letters (log_id, log_topic, partition, "offset", reason, detail, payload,
      arrival_time, created_at)
    SELECT 'l', 't', 0, n, 'r', 'd', '', '2020-01-01Z', ${NOW_MS * 1_000}::timestamptz - interval '1 day' * n
    FROM generate_series(1, 60) n ORDER BY n DESC`;
  expect((await round({ deadLetters: 30 })).deleted).toEqual({ 'dead letters': 30 });
});

test('a part that fails is told, and the others are done', async () => {
  await db.sql`DROP TABLE dead_letters`;
  await addReading('2025-01-01T00:00:00Z');
  const result = await round({ readings: 30, deadLetters: 30, ruleChanges: 30 });
  expect(result).toEqual({ deleted: { readings: 1 }, failed: true });
  expect(warnings).toEqual(['relation "dead_letters" does not exist']);
});

test('one of several replicas does it, and another one when that is gone', async () => {
  const start = () => {
    const janitor = createJanitor({
      sql: db.sql,
      openSession: () =>
        connect(db.url, { max: 1, keepSession: true, applicationName: 'janitor-lock' }),
      model,
      logger: pino({ level: 'silent' }),
      retention: { ...KEEP_ALL, readings: 30 },
      intervalMs: 20,
      electionIntervalMs: 20,
    });
    janitor.start();
    return janitor;
  };
  const janitors = [start(), start()];
  const gone = async () => !(await partitions()).includes('2020_01');
  await addReading('2020-01-01T00:00:00Z');
  await eventually('dropped by one', gone);
  const [held] = await db.sql`
    SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND objid = 7205007
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
  expect(held?.n).toBe(1);
  await janitors[0]?.close();
  await addReading('2020-01-01T00:00:00Z');
  await eventually('dropped by the other', gone);
  await janitors[1]?.close();
}, 15_000);
