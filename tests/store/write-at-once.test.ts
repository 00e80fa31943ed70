import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { model } from '../../src/model.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { NO_POINTS } from '../../src/store/point-columns.ts';
import { readWatermark } from '../../src/store/watermark.ts';
import { type SmallBatch, writeAtOnce } from '../../src/store/write-at-once.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { counts as countsIn, makeReady, START, smallBatches, TIMES } from './small-batches.ts';

const ann = smallBatches(3, 'ann');
const { log: LOG, ruleVersions, stateOf, fired, resolved, batchOf } = ann;

let db: TestDatabase;
/** One connection, as a session's settings and plans are looked at. */
let lane: Sql;
beforeEach(async () => {
  db = await testDatabase();
  lane = connect(db.url, { max: 1 });
  await makeReady(db.sql, ann);
});
afterEach(async () => {
  await lane.end({ timeout: 1 });
  await db.drop();
});

const write = async (n: number, what: Partial<SmallBatch> = {}) =>
  await writeAtOnce(lane, [batchOf(n, what)], { model, points: NO_POINTS });

const counts = () => countsIn(db.sql);

test('all of a batch is written, and its events are given', async () => {
  expect(await write(1)).toEqual([]);
  const events = await write(2, { transitions: [fired(2)], ruleVersions });
  expect(events).toMatchObject([
    { id: 'ann e2', type: 'FIRED', status: 'FIRING', deviceId: 'd1', value: 90.5, time: START + 2 },
  ]);
  const held = [{ alertId: 'ann a2', lastSeenAt: START + 3, value: 91 }];
  expect(await write(3, { held: held as never })).toEqual([]);
  const [moved] = await db.sql`SELECT last_seen_at, value FROM alerts`;
  expect(Object.values(moved as object)).toEqual([START + 3, 91]);
  const more = await write(4, { transitions: [resolved(2), fired(4)], ruleVersions });
  expect(more?.map(({ id, seq }) => [id, seq])).toEqual([
    ['ann r2', 2],
    ['ann e4', 3],
  ]);
  expect(await counts()).toEqual([8, 8, 2, 3, 3]);
  const rows = await db.sql`SELECT status FROM alerts ORDER BY id`;
  expect(rows.map(({ status }) => status)).toEqual(['RESOLVED', 'FIRING']);
  const stored = await db.sql`SELECT extra_data::text AS extra FROM raw_telemetry
    WHERE device_id = 'd1' LIMIT 1`;
  expect(stored[0]?.extra).toBe('{"pressure": 100.10}');
  expect(await readWatermark(db.sql, LOG)).toEqual({ ...TIMES, offset: 3 });
});

test('its settings end with it', async () => {
  await write(1);
  const [row] = await lane`SELECT current_setting('statement_timeout') AS statement,
    current_setting('lock_timeout') AS lock, current_setting('enable_seqscan') AS seqscan,
    current_setting('plan_cache_mode') AS plans`;
  expect(row).toEqual({ statement: '0', lock: '0', seqscan: 'on', plans: 'auto' });
});

test('what a session planned for a few alerts does not read all of many', async () => {
  await db.sql`ALTER TABLE alerts SET (autovacuum_enabled = off)`;
  const held = [{ alertId: 'ann a1', lastSeenAt: START, value: 91 }] as SmallBatch['held'];
  const next = (n: number) => write(n, { transitions: [fired(n)], held, ruleVersions });
  const rowsRead = async () => {
    await lane`SELECT pg_stat_force_next_flush()`;
    const [row] = await lane`SELECT seq_tup_read + idx_tup_fetch AS rows
      FROM pg_stat_user_tables WHERE relname = 'alerts'`;
    return Number(row?.rows);
  };
  for (let n = 1; n <= 10; n++) await next(n);
  await db.sql.begin(async (tx) => {
    await tx`INSERT INTO alerts SELECT (jsonb_populate_record(a, jsonb_build_object('id', n))).*
      FROM alerts a, generate_series(1, 5000) n WHERE a.id = 'ann a1'`;
    await tx`SELECT pg_stat_force_next_flush()`;
  });
  const before = await rowsRead();
  await next(11);
  expect((await rowsRead()) - before).toBeLessThan(20);
});

test('readings that are there already stay as they are', async () => {
  const { readings } = batchOf(1);
  await write(1);
  await db.sql`UPDATE raw_telemetry SET temperature = 1`;
  expect(await write(2, { readings })).toEqual([]);
  const rows = await db.sql`SELECT temperature FROM raw_telemetry`;
  expect(rows.map(({ temperature }) => temperature)).toEqual([1, 1]);
});

describe('is refused, and nothing of it written:', () => {
  const transition = { transitions: [fired(2)], ruleVersions };

  const refusals: Record<string, [Partial<SmallBatch>, (() => Promise<unknown>)?]> = {
    'the watermark moved': [transition, () => db.sql`UPDATE watermarks SET watermark = 7`],
    'the watermark is gone': [transition, () => db.sql`DELETE FROM watermarks`],
    'rules moved': [{ ...transition, ruleVersions: new Map([['ann', 3]]) }],
    'rules of somebody without any are expected': [
      { ...transition, ruleVersions: new Map([['bob', 1]]) },
    ],
    'rules were deleted': [transition, () => db.sql`DELETE FROM user_configs`],
    'another wrote the state of a device': [{ ...transition, states: [stateOf('d1', 3)] }],
    'a reading is older than the rollups': [
      transition,
      () => db.sql`UPDATE rollup_progress SET horizon = to_timestamp(${START / 1e6 + 60})`,
    ],
    'a reading has no partition': [transition, () => db.sql`DROP TABLE raw_telemetry_2024_05`],
  };

  test.each(Object.keys(refusals))('%s', async (name) => {
    const [what, first] = refusals[name] as (typeof refusals)[string];
    await write(1);
    await first?.();
    const before = await counts();
    expect(await write(2, what)).toBeNull();
    expect(await counts()).toEqual(before);
    // The session has no transaction left open.
    const [row] = await lane`SELECT pg_current_xact_id_if_assigned() IS NULL AS free`;
    expect(row?.free).toBe(true);
  });

  test('rules that somebody holds, after 2 s', async () => {
    await write(1);
    const held = Promise.withResolvers<void>();
    const done = Promise.withResolvers<void>();
    const holder = db.sql.begin(async (tx) => {
      await tx`SELECT FROM user_configs FOR UPDATE`;
      held.resolve();
      await done.promise;
    });
    await held.promise;
    const before = await counts();
    const sinceMs = performance.now();
    expect(await write(2, transition)).toBeNull();
    expect(performance.now() - sinceMs).toBeGreaterThan(1_900);
    done.resolve();
    await holder;
    expect(await counts()).toEqual(before);
    expect(await write(2, transition)).toHaveLength(1);
  }, 20_000);
});

test('rules that are never there have version 0, those deleted that of their deletion', async () => {
  expect(await write(1, { ruleVersions: new Map([['nobody', 0]]) })).toEqual([]);
  await db.sql`DELETE FROM user_configs`;
  const [row] = await db.sql`SELECT max(version) AS version FROM rule_changes
    WHERE kind = 'DELETED'`;
  expect(await write(2, { ruleVersions: new Map([['ann', Number(row?.version)]]) })).toEqual([]);
});

test('seq is in commit order: a batch waits for whoever appends, and then sees its seq', async () => {
  const held = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  const holder = db.sql.begin(async (tx) => {
    await tx`SELECT pg_advisory_xact_lock(7205003)`;
    held.resolve();
    await done.promise;
    await tx`SELECT nextval('alert_events_seq')`;
  });
  await held.promise;
  const writing = write(1, { transitions: [fired(1)], ruleVersions });
  await Bun.sleep(100);
  expect(await counts()).toEqual([0, 0, 0, 0, -1]);
  done.resolve();
  await holder;
  expect((await writing)?.map(({ seq }) => seq)).toEqual([2]);
});
