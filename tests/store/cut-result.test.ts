import { afterAll, beforeAll, expect, test } from 'bun:test';
import { connect, type Sql } from '../../src/store/connection.ts';
import { failureKind } from '../../src/store/failure.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';

let db: TestDatabase;
let proxy: TcpProxy;
let sql: Sql;
beforeAll(async () => {
  db = await testDatabase();
  proxy = await tcpProxy(db.url);
  // One connection: what is left over of the broken result would be met by the next.
  sql = connect(proxy.url, { max: 1 });
}, 30_000);
afterAll(async () => {
  await sql.end({ timeout: 0 });
  await proxy.close();
  await db.drop();
}, 30_000);

/** From inside a row's text to the end of many rows. */
const CUTS = [300, 5_000, 70_000, 200_001];

test.each(CUTS)(
  'a result cut after %i bytes fails, and the next one is whole',
  async (bytes) => {
    for (let round = 0; round < 3; round++) {
      const cut = proxy.cutWithin('generate_series', bytes);
      const broken = sql`SELECT n, repeat('x', ${100}::int) AS t FROM generate_series(1, 5000) AS n`;
      expect(await broken.then(() => 'whole', failureKind)).toBe('outage');
      await cut;
      const rows = await sql`SELECT n FROM (VALUES (1), (2)) AS v(n)`;
      expect([...rows]).toEqual([{ n: 1 }, { n: 2 }]);
    }
  },
  15_000,
);

test.each(CUTS)(
  'so it is in a transaction, and of a cursor, after %i bytes',
  async (bytes) => {
    const many = (tx: Sql) =>
      tx`SELECT n, repeat('x', 100) AS t FROM generate_series(1, 5000) AS n`;
    const inTransaction = () => sql.begin((tx) => many(tx as unknown as Sql));
    const byCursor = () => many(sql).cursor(2_000, () => {});
    for (const work of [inTransaction, byCursor]) {
      const cut = proxy.cutWithin('generate_series', bytes);
      expect(await work().then(() => 'whole', failureKind)).toBe('outage');
      await cut;
      const rows = await sql`SELECT n FROM (VALUES (1), (2)) AS v(n)`;
      expect([...rows]).toEqual([{ n: 1 }, { n: 2 }]);
    }
  },
  15_000,
);

test('a result that the server breaks off leaves nothing for the next one', async () => {
  const byError = sql`SELECT 1 / (n - ${4_000}::int) FROM generate_series(1, 5000) AS n`;
  expect(await byError.then(() => 'whole', failureKind)).toBe('row');
  expect([...(await sql`SELECT n FROM (VALUES (1), (2)) AS v(n)`)]).toEqual([{ n: 1 }, { n: 2 }]);
  await sql.begin(async (tx) => {
    await tx
      .savepoint((inner) => inner`SELECT 1 / (n - 4000) FROM generate_series(1, 5000) AS n`)
      .catch(() => {});
    expect([...(await tx`SELECT n FROM (VALUES (1)) AS v(n)`)]).toEqual([{ n: 1 }]);
  });
});

test('a message of many megabytes, and many in one piece, come through as they are', async () => {
  const [row] = await sql`SELECT repeat('x', ${20_000_000}::int) AS t, 1 AS n`;
  expect([row?.t.length, row?.n]).toEqual([20_000_000, 1]);
  const rows = await sql`SELECT n FROM generate_series(1, 50000) AS n`;
  expect(rows.every(({ n }, index) => n === index + 1)).toBe(true);
});
