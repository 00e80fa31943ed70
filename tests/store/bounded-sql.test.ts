import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { boundedSql } from '../../src/store/bounded-sql.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { noPgBouncer, type PgBouncer, startPgBouncer } from '../support/pgbouncer.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

let database: TestDatabase;
let pooler: PgBouncer | null = null;
beforeAll(async () => {
  database = await testDatabase();
  if (!noPgBouncer) pooler = await startPgBouncer(database.url);
}, 60_000);
afterAll(async () => {
  await pooler?.remove();
  await database.drop();
});

const late = () => new Error('too late');
const bounded = (sql: Sql, ms: number) => boundedSql(sql, { leftMs: () => ms, late });

/** Statements of this test that run in the server. */
async function running(): Promise<number> {
  const rows = await database.sql`SELECT FROM pg_stat_activity
    WHERE query LIKE '%pg_sleep(61%' AND state = 'active' AND pid <> pg_backend_pid()`;
  return rows.length;
}

describe.each([
  ['the server', () => database.url],
  ['PgBouncer', () => pooler?.url ?? null],
] as const)('at %s', (_, urlOf) => {
  test('a statement over its time ends in the server too, and its connection serves on', async () => {
    const url = urlOf();
    if (url === null) return;
    const sql = connect(url, { max: 1 });
    try {
      const failure = await bounded(sql, 200)`SELECT pg_sleep(61)`.catch((error) => error);
      expect(failure).toEqual(late());
      expect(await running()).toBe(0);
      expect([...(await bounded(sql, 5_000)`SELECT 1 AS one`)]).toEqual([{ one: 1 }]);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }, 60_000);

  test('one that waits for a connection ends too, and is never sent', async () => {
    const url = urlOf();
    if (url === null) return;
    const sql = connect(url, { max: 1 });
    try {
      const blocking = sql`SELECT pg_sleep(1)`.execute();
      const failure = await bounded(sql, 100)`CREATE TABLE never_made ()`.catch((error) => error);
      expect(failure).toEqual(late());
      await blocking;
      const [row] = await sql<{ made: unknown }[]>`SELECT to_regclass('never_made') AS made`;
      expect(row?.made).toBeNull();
    } finally {
      await sql.end({ timeout: 1 });
    }
  }, 60_000);
});

test('without time left nothing is sent; all else stays as it is', async () => {
  const sql = connect(database.url, { max: 1 });
  try {
    const over = await bounded(sql, 0)`CREATE TABLE never_made ()`.catch((error) => error);
    expect(over).toEqual(late());
    const wrong = await bounded(sql, 5_000)`SELECT 1 / 0`.catch((error) => error);
    expect(wrong.code).toBe('22012');
    const some = bounded(sql, 5_000);
    const fragment = some`1 + ${2}::int`;
    const rows = await some`SELECT ${fragment} AS three`;
    expect([...rows]).toEqual([{ three: 3 }]);
    const [raw] = await some.unsafe<{ four: number }[]>('SELECT 4 AS four');
    expect(raw).toEqual({ four: 4 });
  } finally {
    await sql.end({ timeout: 1 });
  }
}, 60_000);
