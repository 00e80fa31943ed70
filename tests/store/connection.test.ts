import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { connect } from '../../src/store/connection.ts';
import { noPgBouncer, type PgBouncer, startPgBouncer } from '../support/pgbouncer.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

describe.skipIf(noPgBouncer)('behind PgBouncer in transaction mode', () => {
  let db: TestDatabase;
  let pooler: PgBouncer;
  beforeAll(async () => {
    db = await testDatabase();
    pooler = await startPgBouncer(db.url);
  }, 30_000);
  afterAll(async () => {
    await pooler?.remove();
    await db?.drop();
  }, 30_000);

  for (const max of [1, 20]) {
    test(`every statement gets its own answer, over ${max} connections at once`, async () => {
      const sql = connect(pooler.url, { max });
      try {
        const asked = Array.from({ length: 1_000 }, async (_, n) => {
          // Without parameters, with some, and in a transaction: the client sends each differently.
          if (n % 4 === 0) return (await sql`SELECT 'plain' AS t`)[0]?.t === 'plain';
          if (n % 4 === 1) return (await sql.unsafe('SELECT 7 AS t'))[0]?.t === 7;
          if (n % 4 === 2) return (await sql`SELECT ${n}::int AS t`)[0]?.t === n;
          return await sql.begin(async (tx) => {
            await tx`SET LOCAL lock_timeout = '5s'`.simple();
            const rows = await Promise.all([tx`SELECT 1 AS t`, tx`SELECT ${n}::int AS t`]);
            return rows[1][0]?.t === n;
          });
        });
        expect((await Promise.all(asked)).every(Boolean)).toBe(true);
      } finally {
        await sql.end({ timeout: 0 });
      }
    }, 20_000);
  }
});
