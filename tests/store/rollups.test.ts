import { afterEach, beforeEach, expect, test } from 'bun:test';
import fc from 'fast-check';
import pino from 'pino';
import { parseRfc3339 } from '../../src/domain/time.ts';
import { tidy } from '../../src/engine/janitor.ts';
import { model } from '../../src/model.ts';
import { buildRollups } from '../../src/store/build-rollups.ts';
import { connect } from '../../src/store/connection.ts';
import { LOCKS } from '../../src/store/migrations.ts';
import { createPartitionMaker } from '../../src/store/partitions.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import {
  ask,
  createTestLane,
  expectRawAnswer,
  MINUTE,
  type Question,
  rollUp,
  rollUpAll,
  STEP,
  type TestReading,
} from './rollup-stage.ts';

let db: TestDatabase;
beforeEach(async () => {
  db = await testDatabase();
}, 30_000);
afterEach(() => db.drop(), 30_000);

const at = (text: string) => parseRfc3339(text) as number;
const DAY = 96 * STEP;
const HOUR = 4 * STEP;

async function clear(): Promise<void> {
  await db.sql.unsafe(`TRUNCATE raw_telemetry, rollups, rollup_marks;
    UPDATE rollup_progress SET horizon = 'epoch', built_to = 'epoch', kept_from = 'epoch'`);
}

async function count(table: string): Promise<number> {
  const [row] = await db.sql<{ n: number }[]>`SELECT count(*) AS n FROM ${db.sql(table)}`;
  return row?.n as number;
}

/** A window of six days that holds a change of the clock, or an odd offset. */
const windows = fc.constantFrom(
  ['America/New_York', at('2024-03-08T00:00:00Z')],
  ['America/New_York', at('2024-11-01T00:00:00Z')],
  ['Asia/Kathmandu', at('2024-05-29T00:00:00Z')],
  ['Asia/Kolkata', at('2024-02-27T00:00:00Z')],
  ['Australia/Lord_Howe', at('2024-04-04T00:00:00Z')],
  // 44 minutes and 30 seconds off the hour, until 1972-01-07.
  ['Africa/Monrovia', at('1972-01-04T00:00:00Z')],
) as fc.Arbitrary<[string, number]>;

const value = fc.option(
  fc.oneof(
    fc.double({ min: -100, max: 100, noNaN: true }),
    fc.constantFrom(0, 0.1, -0.1, 1e6, -1e6, 1e-9),
  ),
  { freq: 5, nil: null },
);
const reading = fc.record({
  // Whole steps now and then, so that bounds are hit exactly, and a microsecond before them.
  offset: fc.oneof(
    fc.integer({ min: 0, max: 6 * DAY - 1 }),
    fc.integer({ min: 0, max: 6 * 96 - 1 }).map((step) => step * STEP),
    fc.integer({ min: 1, max: 6 * 96 - 1 }).map((step) => step * STEP - 1),
    // Many in one place.
    fc.integer({ min: 3 * DAY, max: 3 * DAY + 4 * STEP }),
  ),
  device: fc.constantFrom('a', 'b'),
  temperature: value,
  battery: fc.option(fc.integer({ min: 0, max: 100 }), { nil: null }),
  pressure: fc.option(fc.integer({ min: 0, max: 9 }), { nil: null }),
});
const act = fc.oneof(
  { weight: 3, arbitrary: fc.array(reading, { minLength: 1, maxLength: 30 }) },
  // Up to where the builder comes.
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 7 * DAY }) },
);
const question = fc.record({
  from: fc.oneof(
    fc.integer({ min: 0, max: 3 * DAY }),
    fc.nat(288).map((step) => step * STEP),
  ),
  length: fc.oneof(fc.integer({ min: 1, max: 6 * DAY }), fc.integer({ min: 1, max: 3 * STEP })),
  bucket: fc.constantFrom(
    ...['1d', '2d', '1w', '1mo', '5m', '7m', '15m', '20m', '45m', '1h', '100m', '6h', '37h'],
  ),
  keys: fc.constantFrom(
    ...[['temperature'], ['temperature', 'battery'], ['battery', 'pressure'], ['pressure']],
  ),
  ends: fc.boolean(),
});

test('rollups and readings give what the readings alone give', async () => {
  const writer = createTestLane(db.sql, 0);
  let sequenceId = 0;
  let rolled = 0;
  await fc.assert(
    fc.asyncProperty(
      windows,
      fc.array(act, { minLength: 2, maxLength: 6 }),
      fc.array(question, { minLength: 3, maxLength: 6 }),
      fc.option(fc.integer({ min: 0, max: 6 * DAY }), { nil: null }),
      async ([zone, start], acts, questions, keptFrom) => {
        await clear();
        for (const step of acts) {
          if (typeof step === 'number') await rollUpAll(db.sql, start + step);
          else {
            await writer(
              step.map(({ offset, device, ...values }) => ({
                ...{
                  time: start + offset,
                  deviceId: device,
                  sequenceId: sequenceId++ % 7,
                  ...values,
                },
              })),
              // Some have the key of one that is there.
              { replay: true },
            );
          }
        }
        if (keptFrom !== null) {
          await db.sql`UPDATE rollup_progress SET kept_from =
            date_bin('15 minutes', ${start + keptFrom}::timestamptz, 'epoch')`;
        }
        rolled += await count('rollups');
        for (const { from, length, ...rest } of questions) {
          const range = { from: start + from, to: start + from + length };
          await expectRawAnswer(db.sql, { ...rest, range, zone, deviceIds: ['a', 'b', 'c'] });
        }
      },
    ),
    { numRuns: 40 },
  );
  expect(rolled).toBeGreaterThan(0);
}, 120_000);

const T0 = at('2025-03-01T00:00:00Z');
const WHOLE: Question = {
  range: { from: T0, to: T0 + 3 * DAY },
  ...{ bucket: '1d', zone: 'Asia/Kolkata', keys: ['temperature', 'battery'], ends: true },
  deviceIds: ['a', 'b', 'c'],
};

function made(deviceId: string, time: number, sequenceId = 0): TestReading {
  const temperature = Math.sin(time / MINUTE + sequenceId) * 50;
  return { deviceId, time, sequenceId, temperature, battery: sequenceId % 100, pressure: null };
}

test('ranges that begin and end anywhere in a step', async () => {
  const write = createTestLane(db.sql, 0);
  await write(Array.from({ length: 150 }, (_, n) => made('a', T0 + n * MINUTE, n)));
  await rollUpAll(db.sql, T0 + 4 * DAY);
  await write([made('a', T0 + 40 * MINUTE, 1_000)]);
  for (const bucket of ['1d', '15m', '1h', '100m']) {
    for (const from of [0, 1, 14, 15, 16, 44]) {
      for (const to of [45, 46, 59, 60, 61, 119]) {
        const range = { from: T0 + from * MINUTE, to: T0 + to * MINUTE };
        await expectRawAnswer(db.sql, { ...WHOLE, range, bucket });
      }
    }
  }
}, 60_000);

test('at every moment while lanes write late readings and the builder follows', async () => {
  const devices = ['a', 'b', 'c'];
  let writing = devices.length;
  let now = T0 + HOUR;
  // Every lane goes forward, and writes into the past all the time.
  const lane = async (deviceId: string, partition: number) => {
    const write = createTestLane(db.sql, partition);
    for (let batch = 0; batch < 80; batch++) {
      const front = T0 + batch * 2 * STEP;
      now = Math.max(now, front + HOUR + (batch % 3) * STEP);
      const rows = Array.from({ length: 12 }, (_, n) => {
        const age = n < 6 ? 0 : Math.floor(((n * 7 + batch * 13) % 24) ** 2 / 12) * STEP;
        return made(deviceId, Math.max(T0, front - age) + n * MINUTE, batch * 12 + n);
      });
      await write(rows);
    }
    writing--;
  };
  const building = async () => {
    while (writing > 0) await rollUp(db.sql, now, { maxMarks: 5 });
  };
  let compared = 0;
  const comparing = async () => {
    for (; writing > 0; compared++) await expectRawAnswer(db.sql, WHOLE);
  };
  await Promise.all([...devices.map(lane), building(), comparing()]);
  expect(compared).toBeGreaterThan(0);
  await rollUpAll(db.sql, now);
  expect(await count('rollup_marks')).toBe(0);
  await expectRawAnswer(db.sql, WHOLE);
  await rollUpAll(db.sql, T0 + 9 * DAY);
  await expectAllRolledUp();
}, 120_000);

/** The same answer as before, and now without the readings. */
async function expectAllRolledUp(): Promise<void> {
  const rows = await expectRawAnswer(db.sql, WHOLE);
  expect(rows.length).toBeGreaterThan(0);
  await db.sql`TRUNCATE raw_telemetry`;
  expect(await ask(db.sql, WHOLE)).toEqual(rows);
}

/** Resolves once so many wait for a lock. */
async function waiting(sessions: number): Promise<void> {
  const check = async () => {
    const rows = await db.sql`
      SELECT DISTINCT pid FROM pg_locks WHERE NOT granted AND pid IN (
        SELECT pid FROM pg_stat_activity WHERE datname = current_database())`;
    return rows.length === sessions;
  };
  await eventually(`${sessions} wait for a lock`, check, 30_000);
}

/** Holds the lock until told to let it go. */
async function hold(statement: string): Promise<() => Promise<void>> {
  let release = () => {};
  const held = Promise.withResolvers<void>();
  const holder = connect(db.url, { max: 1 });
  const holding = holder.begin(async (tx) => {
    await tx.unsafe(statement);
    held.resolve();
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  });
  await held.promise;
  return async () => {
    release();
    await holding;
    await holder.end({ timeout: 1 });
  };
}

test('the builder waits for a lane that has read the former horizon', async () => {
  const write = createTestLane(db.sql, 0);
  await write([made('a', T0)]);
  const letGo = await hold('LOCK TABLE raw_telemetry IN SHARE MODE');
  const late = write([made('a', T0 + MINUTE)]);
  await waiting(1);
  const building = rollUpAll(db.sql, T0 + 4 * DAY);
  await waiting(2);
  await letGo();
  await Promise.all([late, building]);
  expect(await count('rollup_marks')).toBe(0);
  await expectAllRolledUp();
}, 60_000);

test('a reading that comes while its step is being built leaves a mark', async () => {
  const write = createTestLane(db.sql, 0);
  const lateWrite = createTestLane(db.sql, 1);
  await write([made('a', T0), made('b', T0 + DAY)]);
  await createPartitionMaker(db.sql, { table: 'rollups' }).ensure([T0]);
  const letGo = await hold('LOCK TABLE rollups_2025_03 IN EXCLUSIVE MODE');
  const building = rollUpAll(db.sql, T0 + 4 * DAY);
  await waiting(1);
  await lateWrite([made('a', T0 + MINUTE)]);
  await letGo();
  await building;
  await expectRawAnswer(db.sql, WHOLE);
  expect(await count('rollup_marks')).toBe(1);
  await rollUpAll(db.sql, T0 + 4 * DAY);
  expect(await count('rollup_marks')).toBe(0);
  await expectAllRolledUp();
}, 60_000);

test('a mark that an open transaction relies on is not worked off', async () => {
  const write = createTestLane(db.sql, 0);
  await write([made('a', T0)]);
  await rollUpAll(db.sql, T0 + 4 * DAY);
  await write([made('a', T0, 1)]);
  await db.sql.unsafe(`
    CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER linger AFTER UPDATE ON watermarks DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION linger()`);
  // The builder has begun a new generation and goes no further; two late readings share its mark.
  const letBuild = await hold(`SELECT pg_advisory_xact_lock(${LOCKS.rollups})`);
  const building = rollUp(db.sql, T0 + 4 * DAY);
  await waiting(1);
  await write([made('a', T0, 2)]);
  const letCommit = await hold('SELECT pg_advisory_xact_lock(1)');
  const open = write([made('a', T0, 3)]);
  await waiting(2);
  await letBuild();
  await building;
  await letCommit();
  await open;
  const rows = await expectRawAnswer(db.sql, WHOLE);
  expect(rows[0]?.count).toBe(4);
  await rollUpAll(db.sql, T0 + 4 * DAY);
  await expectAllRolledUp();
}, 60_000);

test('a build that is cut off goes on where it was', async () => {
  const write = createTestLane(db.sql, 0);
  await write(
    Array.from({ length: 500 }, (_, n) => made('abc'[n % 3] as string, T0 + n * 8 * MINUTE, n)),
  );
  const now = T0 + 4 * DAY;
  const builder = connect(db.url, { max: 2, applicationName: 'cut-off' });
  // Each round of a builder that has just been started does one piece.
  expect(await rollUp(builder, now, { roundMs: 0 })).toBe(true);
  await expectRawAnswer(db.sql, WHOLE);
  const built = await count('rollups');
  expect(built).toBeGreaterThan(0);
  const letGo = await hold('LOCK TABLE rollups_2025_03 IN EXCLUSIVE MODE');
  const cut = rollUp(builder, now, { roundMs: 0 }).catch((error) => error);
  await waiting(1);
  await db.sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'cut-off' AND wait_event_type = 'Lock'`;
  await letGo();
  expect(await cut).toBeInstanceOf(Error);
  await builder.end({ timeout: 1 });
  expect(await count('rollups')).toBe(built);
  let rounds = 0;
  for (let more = true; more; rounds++) {
    more = await rollUp(db.sql, now, { roundMs: 0 });
    await expectRawAnswer(db.sql, WHOLE);
  }
  expect(rounds).toBeGreaterThan(3);
  await expectAllRolledUp();
}, 60_000);

test('a step of many devices in slices, and all of it anew', async () => {
  const write = createTestLane(db.sql, 0);
  await write(Array.from({ length: 90 }, (_, n) => made('abc'[n % 3] as string, T0 + n * MINUTE)));
  await rollUpAll(db.sql, T0);
  await createPartitionMaker(db.sql, { table: 'rollups' }).ensure([T0]);
  const [row] = await db.sql<{ built_to: number }[]>`SELECT built_to FROM rollup_progress`;
  const range = { from: T0, to: T0 + 3 * DAY };
  const builtTo = row?.built_to as number;
  expect(await buildRollups(db.sql, model, range, { builtTo: 0, slices: 4 })).toBe(false);
  expect(await buildRollups(db.sql, model, range, { builtTo, slices: 4 })).toBe(true);
  await expectRawAnswer(db.sql, WHOLE);
  await db.sql`TRUNCATE rollups`;
  await db.sql`UPDATE rollup_progress SET built_to = 'epoch'`;
  await rollUpAll(db.sql, T0 + 4 * DAY);
  await expectAllRolledUp();
}, 60_000);

test('retention takes the rollups along, and what comes after it is still found', async () => {
  const write = createTestLane(db.sql, 0);
  const old = T0 - 50 * DAY;
  await write([made('a', old), made('a', T0), made('a', T0 + DAY)]);
  await rollUpAll(db.sql, T0 + 4 * DAY);
  const asked = { ...WHOLE, range: { from: old - DAY, to: T0 + 3 * DAY }, bucket: '1w' };
  expect((await expectRawAnswer(db.sql, asked)).length).toBe(4);
  await tidy({
    ...{ sql: db.sql, model, logger: pino({ level: 'silent' }) },
    signal: new AbortController().signal,
    nowMs: (T0 + DAY / 2) / 1_000 + 30 * 86_400_000,
    retention: {
      ...{ readings: 30, alerts: null, alertEvents: null, deadLetters: null, ruleChanges: null },
    },
  });
  expect(await count('raw_telemetry')).toBe(2);
  expect(await count('rollups')).toBe(2);
  expect((await expectRawAnswer(db.sql, asked)).length).toBe(2);
  await createTestLane(db.sql, 1)([made('a', old, 5), made('a', T0 + DAY, 6)]);
  await expectRawAnswer(db.sql, asked);
  await rollUpAll(db.sql, T0 + 4 * DAY);
  expect(await count('rollup_marks')).toBe(0);
  expect(await count('rollups')).toBe(2);
  expect((await expectRawAnswer(db.sql, asked)).length).toBe(4);
}, 60_000);

test('a lane that is behind holds the builder back, and sets no marks', async () => {
  const write = createTestLane(db.sql, 0);
  await write([made('a', T0)]);
  await db.sql`UPDATE watermarks SET covered_at = ${T0 + 2 * HOUR}::timestamptz`;
  const builtTo = async (now: number) => {
    await rollUpAll(db.sql, now);
    const [row] = await db.sql<{ to: number }[]>`SELECT built_to AS to FROM rollup_progress`;
    return row?.to;
  };
  expect(await builtTo(T0 + 5 * HOUR)).toBe(T0 + HOUR);
  await write([made('a', T0 + HOUR)]);
  expect(await count('rollup_marks')).toBe(0);
  await write([made('a', T0 + HOUR - 1)]);
  expect(await count('rollup_marks')).toBe(1);
  // A partition that is silent for longer is not waited for.
  expect(await builtTo(T0 + 9 * HOUR)).toBe(T0 + 8 * HOUR);
}, 60_000);

test('without its row of progress nothing is rolled up, and all is answered', async () => {
  const write = createTestLane(db.sql, 0);
  await write([made('a', T0)]);
  await rollUpAll(db.sql, T0 + 4 * DAY);
  await db.sql`DELETE FROM rollup_progress`;
  await write([made('a', T0 + MINUTE)]);
  expect(await rollUp(db.sql, T0 + 5 * DAY)).toBe(false);
  await expectRawAnswer(db.sql, WHOLE);
}, 60_000);
