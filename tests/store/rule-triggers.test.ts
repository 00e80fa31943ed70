import { afterEach, beforeEach, expect, test } from 'bun:test';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

let db: TestDatabase;
beforeEach(async () => {
  db = await testDatabase();
}, 30_000);
afterEach(() => db.drop());

/** The statement of the README, as it is. */
const UPSERT = `
INSERT INTO user_configs (user_id, temperature_max, rules) VALUES ('user_123', 80.0,
 '[{"key":"battery","operator":"<","threshold":20.0,"message":"Critical Battery Level!"},
   {"key":"pressure","operator":">","threshold":105.5,"message":"Overpressure detected"}]'::jsonb)
ON CONFLICT (user_id) DO UPDATE SET rules = EXCLUDED.rules;`;

async function changes(userId = 'user_123') {
  const rows = await db.sql<{ kind: string; version: number }[]>`
    SELECT kind, version FROM rule_changes WHERE user_id = ${userId} ORDER BY seq`;
  return rows.map((row) => `${row.kind} ${row.version}`);
}

async function version(userId = 'user_123') {
  const [row] = await db.sql`SELECT version, accepted_version FROM user_configs
                             WHERE user_id = ${userId}`;
  return row && [row.version, row.accepted_version];
}

test('an upsert makes one version, and the same upsert again makes none', async () => {
  await db.sql.unsafe(UPSERT);
  expect(await version()).toEqual([1, 0]);
  await db.sql.unsafe(UPSERT);
  expect(await version()).toEqual([1, 0]);
  await db.sql.unsafe(UPSERT.replace('20.0', '25'));
  expect(await version()).toEqual([2, 0]);
  expect(await changes()).toEqual(['WRITTEN 1', 'WRITTEN 2']);
});

test('an update that changes nothing is no change, whatever version it claims', async () => {
  await db.sql.unsafe(UPSERT);
  await db.sql`UPDATE user_configs SET rules = rules, temperature_max = 80, version = 70`;
  expect(await version()).toEqual([1, 0]);
  expect(await changes()).toEqual(['WRITTEN 1']);
});

test('versions go on after a deletion, and so does the version in force', async () => {
  await db.sql.unsafe(UPSERT);
  await db.sql`DELETE FROM user_configs`;
  await db.sql.unsafe(UPSERT);
  expect(await version()).toEqual([3, 2]);
  expect(await changes()).toEqual(['WRITTEN 1', 'DELETED 2', 'WRITTEN 3']);
});

test('delete and insert in one transaction, and truncate, are seen too', async () => {
  await db.sql.unsafe(UPSERT);
  await db.sql.begin(async (tx) => {
    await tx`DELETE FROM user_configs`;
    await tx.unsafe(UPSERT);
  });
  expect(await changes()).toEqual(['WRITTEN 1', 'DELETED 2', 'WRITTEN 3']);
  await db.sql`TRUNCATE user_configs`;
  expect((await changes()).at(-1)).toBe('DELETED 4');
});

test('an insert that waited for a deletion gets the number after it', async () => {
  await db.sql.unsafe(UPSERT);
  let inserted: Promise<unknown> = Promise.resolve();
  await db.sql.begin(async (tx) => {
    await tx`DELETE FROM user_configs`;
    inserted = db.sql.unsafe(`/* late */ ${UPSERT}`).execute();
    await untilWaiting('late');
  });
  await inserted;
  expect(await changes()).toEqual(['WRITTEN 1', 'DELETED 2', 'WRITTEN 3']);
});

test('NaN and infinity are taken as they are, and a user cannot be renamed', async () => {
  await db.sql`INSERT INTO user_configs (user_id, temperature_max) VALUES ('n', 'NaN'), ('i', 'Infinity')`;
  expect(await changes('n')).toEqual(['WRITTEN 1']);
  expect(await changes('i')).toEqual(['WRITTEN 1']);
  const renamed = db.sql`UPDATE user_configs SET user_id = 'm' WHERE user_id = 'n'`.execute();
  expect(renamed).rejects.toThrow('user_id cannot be changed');
  await renamed.catch(() => {});
});

test('seq is in commit order, and an open transaction holds up nobody', async () => {
  const { sql } = db;
  const open = Promise.withResolvers<void>();
  const written = Promise.withResolvers<void>();
  const slow = sql.begin(async (tx) => {
    await tx`INSERT INTO user_configs (user_id) VALUES ('slow')`;
    written.resolve();
    await open.promise;
  });
  await written.promise;
  await sql`INSERT INTO user_configs (user_id) VALUES ('quick')`;
  open.resolve();
  await slow;
  const rows = await sql`SELECT user_id FROM rule_changes ORDER BY seq`;
  expect(rows.map((row) => row.user_id)).toEqual(['quick', 'slow']);
});

test('two transactions that change several users end without a deadlock on the numbering', async () => {
  const { sql } = db;
  await sql`INSERT INTO user_configs (user_id) VALUES ('a'), ('b')`;
  const first = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  const bump = (tx: typeof sql, id: string) =>
    tx`UPDATE user_configs SET temperature_max = coalesce(temperature_max, 0) + 1 WHERE user_id = ${id}`;
  await Promise.all([
    sql.begin(async (tx) => {
      await bump(tx as never, 'a');
      first.resolve();
      await second.promise;
      await bump(tx as never, 'a');
    }),
    sql.begin(async (tx) => {
      await first.promise;
      await bump(tx as never, 'b');
      second.resolve();
      await bump(tx as never, 'b');
    }),
  ]);
  const [row] = await sql`SELECT count(*) AS all, count(seq) AS numbered FROM rule_changes`;
  expect(row).toEqual({ all: 6, numbered: 6 });
});

/** Waits until a statement with this mark stands before a lock. */
async function untilWaiting(mark: string): Promise<void> {
  for (const end = Date.now() + 5_000; Date.now() < end; await Bun.sleep(5)) {
    const [row] = await db.sql`SELECT count(*) AS n FROM pg_stat_activity
      WHERE wait_event_type = 'Lock' AND query LIKE ${`/* ${mark} */%`}`;
    if (row?.n === 1) return;
  }
  throw new Error(`no statement waits with the mark ${mark}`);
}
