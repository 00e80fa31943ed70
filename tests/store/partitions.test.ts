import { afterEach, beforeEach, expect, test } from 'bun:test';
import { model } from '../../src/model.ts';
import { failureKind } from '../../src/store/failure.ts';
import { createPartitionMaker, type PartitionMaker } from '../../src/store/partitions.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

let db: TestDatabase;
let partitions: PartitionMaker;
beforeEach(async () => {
  db = await testDatabase();
  partitions = createPartitionMaker(db.sql, model);
}, 30_000);
afterEach(() => db.drop(), 30_000);

const MAY_2014 = Date.UTC(2014, 4, 7) * 1_000;
const NAME = 'raw_telemetry_2014_05';
const ensure = () => partitions.ensure([MAY_2014]);
const insert = (day = 7) =>
  db.sql`INSERT INTO raw_telemetry (time, user_id, device_id, sequence_id)
         VALUES (${`2014-05-${String(day).padStart(2, '0')}T00:00:00Z`}::text::timestamptz, 'u', 'd', 1)`;
async function bounds(): Promise<string | undefined> {
  const [row] = await db.sql`
    SELECT pg_get_expr(relpartbound, oid) AS bounds FROM pg_class WHERE relname = ${NAME}`;
  return row?.bounds ?? undefined;
}

test('a partition that was detached comes back with what it holds', async () => {
  await ensure();
  await insert(7);
  await db.sql.unsafe(`ALTER TABLE raw_telemetry DETACH PARTITION ${NAME}`);
  expect(await bounds()).toBeUndefined();
  partitions.forget();
  await ensure();
  expect(await bounds()).toContain("FROM ('2014-05-01");
  await insert(8);
  const [row] = await db.sql`SELECT count(*) AS n FROM raw_telemetry`;
  expect(row?.n).toBe(2);
});

test.each([
  ['a table with other columns', `CREATE TABLE ${NAME} (x integer)`],
  [
    'a table with readings of another month',
    `CREATE TABLE ${NAME} (LIKE raw_telemetry INCLUDING ALL);
     INSERT INTO ${NAME} VALUES ('2015-01-01', 'u', 'd', 1)`,
  ],
  ['a view', `CREATE VIEW ${NAME} AS SELECT 1 AS x`],
])('%s in its place is a fault that says what to do', async (_what, statement) => {
  await db.sql.unsafe(statement);
  const error = await ensure().then(
    () => null,
    (caught: unknown) => caught as Error,
  );
  expect(error?.message).toStartWith(`${NAME} stands where the partition of 2014-05 belongs`);
  expect(error?.message).toEndWith('rename or drop it, then restart');
  // Not of a reading: none may become a dead letter of it.
  expect(failureKind(error)).toBe('bug');
});

test('a partition of another name that covers the month will do', async () => {
  await db.sql`
    CREATE TABLE quarter PARTITION OF raw_telemetry FOR VALUES FROM ('2014-04-01') TO ('2014-07-01')`;
  await ensure();
  await insert();
  expect(await bounds()).toBeUndefined();
});

test('so will a default partition that holds readings of the month', async () => {
  await db.sql`CREATE TABLE rest PARTITION OF raw_telemetry DEFAULT`;
  await insert(7);
  await ensure();
  await insert(8);
  const [row] = await db.sql`SELECT count(*) AS n FROM rest`;
  expect(row?.n).toBe(2);
});

test('one that is being detached is waited for', async () => {
  await ensure();
  await db.sql`UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = ${NAME}::text::regclass`;
  partitions.forget();
  const error = await ensure().then(
    () => null,
    (caught: unknown) => caught as Error,
  );
  expect(failureKind(error)).toBe('outage');
  expect(error?.message).toContain('FINALIZE');
  await db.sql.unsafe(`ALTER TABLE raw_telemetry DETACH PARTITION ${NAME} FINALIZE`);
  await ensure();
  expect(await bounds()).toBeDefined();
});
