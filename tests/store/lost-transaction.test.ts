import { afterAll, beforeAll, expect, test } from 'bun:test';
import { connect, type Sql, type TransactionSql } from '../../src/store/connection.ts';
import { errorCode, failureKind } from '../../src/store/failure.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';

let db: TestDatabase;
let proxy: TcpProxy;
let sql: Sql;
beforeAll(async () => {
  db = await testDatabase();
  proxy = await tcpProxy(db.url);
  // One connection: what is left over of a lost transaction would be met by the next.
  sql = connect(proxy.url, { max: 1 });
}, 30_000);
afterAll(async () => {
  await sql.end({ timeout: 0 });
  await proxy.close();
  await db.drop();
}, 30_000);

const cut = (tx: TransactionSql) => tx`SELECT 'cut here'`;
/** A statement whose session the server ends. */
async function terminated(tx: TransactionSql): Promise<unknown> {
  const statement = tx`SELECT pg_sleep(30)`.execute();
  statement.catch(() => {});
  await eventually('it is ended', async () => {
    const ended = await db.sql`
      SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
      WHERE datname = current_database() AND query = 'SELECT pg_sleep(30)' AND state = 'active'`;
    return ended.length > 0;
  });
  return await statement;
}

test.each([
  ['in a statement', async (tx: TransactionSql) => void (await cut(tx))],
  [
    'in a savepoint',
    async (tx: TransactionSql) => {
      await tx.savepoint((inner) => cut(inner as unknown as TransactionSql));
    },
  ],
  [
    'and statements sent after it',
    async (tx: TransactionSql) => {
      await cut(tx).catch(() => {});
      for (let n = 0; n < 5; n++) {
        await new Promise((resolve) => setImmediate(resolve));
        tx`SELECT ${n}::int`.catch(() => {});
      }
    },
  ],
  [
    'with others on their way',
    async (tx: TransactionSql) => {
      await Promise.all([cut(tx), tx`SELECT 1`, tx.unsafe('SELECT 2'), tx`SELECT 3`.simple()]);
    },
  ],
])(
  'a transaction whose connection is lost %s rejects, and the next one works',
  async (_how, work) => {
    for (let round = 0; round < 3; round++) {
      const done = proxy.cutAfter('cut here');
      const error = await sql
        .begin((tx) => work(tx as unknown as TransactionSql))
        .then(() => 'committed', failureKind);
      expect(error).toBe('outage');
      const [row] = await sql.begin((tx) => tx`SELECT 1 AS n`);
      expect(row?.n).toBe(1);
      void done;
    }
  },
  15_000,
);

test('the last words of a server are the error of the statement, and of no other', async () => {
  for (let round = 0; round < 3; round++) {
    const ended = sql.begin((tx) => terminated(tx as unknown as TransactionSql));
    expect(await ended.then(() => 'committed', failureKind)).toBe('outage');
    const statement = terminated(sql as unknown as TransactionSql);
    expect(await statement.then(() => 'ended', errorCode)).toBe('57P01');
    expect((await sql`SELECT 1 AS a`)[0]?.a).toBe(1);
    expect((await sql`SELECT 1 AS b`)[0]?.b).toBe(1);
  }
}, 15_000);

test('a failure that is none of the connection rolls back, and keeps its error', async () => {
  const error = await sql
    .begin(async (tx) => {
      await tx`CREATE TABLE gone ()`;
      await tx.savepoint((inner) => inner`SELECT 1 / 0`).catch(() => {});
      await tx`SELECT 1 / 0`;
    })
    .then(() => null, errorCode);
  expect(error).toBe('22012');
  const [row] = await sql`SELECT to_regclass('gone') AS gone`;
  expect(row?.gone).toBeNull();
  await expect(sql.begin(async () => Promise.reject(new Error('ours')))).rejects.toThrow('ours');
  expect(await sql.begin(async (tx) => (await tx`SELECT 7 AS n`)[0]?.n)).toBe(7);
});
