import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { connect } from '../../src/store/connection.ts';
import { errorCode, failureKind } from '../../src/store/failure.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';

/** What a busy process may come to between two statements: much longer than anything is kept open. */
const PAUSES: Record<string, () => unknown> = {
  'that are far apart': () => Bun.sleep(600),
  'while nothing else runs': () => Bun.sleepSync(600),
  'while nothing else runs but for a moment': async () => {
    await Bun.sleep(1);
    Bun.sleepSync(600);
  },
};

describe('a connection that breaks', () => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await testDatabase();
  }, 30_000);
  afterAll(() => db.drop(), 30_000);

  test('in a transaction, under savepoints: it fails as an outage, and the pool goes on', async () => {
    const sql = connect(db.url, { max: 1 });
    try {
      for (let round = 0; round < 3; round++) {
        const failed = await sql
          .begin(async (tx) => {
            const [row] = await tx<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
            await tx.savepoint(async (inner) => {
              await inner.savepoint(async (innermost) => {
                await db.sql`SELECT pg_terminate_backend(${row?.pid as number}::int, 5000)`;
                await innermost`SELECT ${1}::int`;
              });
            });
          })
          .catch((error: unknown) => error);
        expect(failureKind(failed)).toBe('outage');
        expect((await sql`SELECT ${round}::int AS n`)[0]?.n).toBe(round);
      }
    } finally {
      await sql.end({ timeout: 1 });
    }
  }, 15_000);

  test.each(Object.keys(PAUSES))(
    'between two statements of a transaction %s: it fails as an outage, and the pool goes on',
    async (how) => {
      const sql = connect(db.url, { max: 1 });
      try {
        for (let round = 0; round < 3; round++) {
          const failed = await sql
            .begin(async (tx) => {
              const [row] = await tx<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
              await db.sql`SELECT pg_terminate_backend(${row?.pid as number}::int, 5000)`;
              await PAUSES[how]?.();
              await tx`SELECT ${1}::int`;
            })
            .catch((error: unknown) => error);
          expect(failureKind(failed)).toBe('outage');
          expect((await sql`SELECT ${round}::int AS n`)[0]?.n).toBe(round);
          expect(await sql.begin(async (tx) => (await tx`SELECT 7 AS n`)[0]?.n)).toBe(7);
        }
      } finally {
        await sql.end({ timeout: 1 });
      }
    },
    15_000,
  );

  test('in a transaction that nobody goes on with: the pool ends all the same', async () => {
    const sql = connect(db.url, { max: 1 });
    const begun = Promise.withResolvers<number>();
    const over = sql
      .begin(async (tx) => {
        const [row] = await tx<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
        begun.resolve(row?.pid as number);
        await new Promise(() => {});
      })
      .catch((error: unknown) => error);
    await db.sql`SELECT pg_terminate_backend(${await begun.promise}::int, 5000)`;
    await sql.end({ timeout: 0 });
    expect(failureKind(await over)).toBe('outage');
  }, 15_000);

  test('while idle: the next statement opens another, and nobody notices', async () => {
    const sql = connect(db.url, { max: 1 });
    try {
      const [row] = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
      const pid = row?.pid as number;
      await db.sql`SELECT pg_terminate_backend(${pid}::int, 5000)`;
      await eventually('another connection', async () => {
        const [now] = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`.catch(() => []);
        return now && now.pid !== pid;
      });
    } finally {
      await sql.end({ timeout: 1 });
    }
  }, 15_000);
});

describe('a server that does not answer', () => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await testDatabase();
  }, 30_000);
  afterAll(() => db.drop(), 30_000);

  test('what was asked fails as an outage in time, and the pool is whole when it is back', async () => {
    const proxy = await tcpProxy(db.url);
    const sql = connect(proxy.url, { max: 2, answerWithinMs: 400 });
    try {
      await Promise.all([sql`SELECT pg_sleep(0.1)`, sql`SELECT pg_sleep(0.1)`]);
      proxy.freeze();
      const startedMs = performance.now();
      const failures = await Promise.all([
        sql`SELECT ${1}::int`.catch((error: unknown) => error),
        sql.begin((tx) => tx`SELECT ${1}::int`).catch((error: unknown) => error),
      ]);
      expect(failures.map(errorCode)).toEqual(['DEADLINE', 'DEADLINE']);
      expect(failures.map(failureKind)).toEqual(['outage', 'outage']);
      expect(performance.now() - startedMs).toBeLessThan(3_000);
      proxy.thaw();
      const rows = await Promise.all([1, 2, 3].map((n) => sql`SELECT ${n}::int AS n`));
      expect(rows.map(([row]) => row?.n)).toEqual([1, 2, 3]);
    } finally {
      await sql.end({ timeout: 1 });
      await proxy.close();
    }
  }, 15_000);

  test('time that passes between two statements, or while rows come, does not count', async () => {
    const sql = connect(db.url, { max: 1, answerWithinMs: 600 });
    try {
      await sql.begin(async (tx) => {
        await tx`SELECT ${1}::int`;
        await Bun.sleep(900);
        await tx`SELECT ${1}::int`;
      });
      const slow = await sql.unsafe(
        `SELECT repeat('x', 9000), pg_sleep(0.3) FROM generate_series(1, 4)`,
      );
      expect(slow).toHaveLength(4);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }, 15_000);
});

const PSQL = Bun.which('psql');
test.skipIf(PSQL === null && process.env.CI !== 'true')(
  'a connection that breaks as a statement sets off: the next ones get through',
  async () => {
    const db = await testDatabase();
    const sql = connect(db.url, { max: 1 });
    try {
      for (let round = 0; round < 3; round++) {
        const [row] = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
        const terminate = `SELECT pg_terminate_backend(${row?.pid}, 5000)`;
        // From here on the end of the connection is noticed before our statement is sent.
        await new Promise((resolve) => setImmediate(resolve));
        Bun.spawnSync([PSQL ?? 'psql', '-X', '-c', terminate, db.url]);
        const first = await sql`SELECT ${1}::int AS n`.catch(failureKind);
        if (!Array.isArray(first)) expect(first).toBe('outage');
        const startedAt = performance.now();
        expect((await sql`SELECT ${round}::int AS n`)[0]?.n).toBe(round);
        expect(performance.now() - startedAt).toBeLessThan(5_000);
      }
    } finally {
      await sql.end({ timeout: 0 });
      await db.drop();
    }
  },
  30_000,
);

test('a server that accepts and hangs up fails the statement, and is not called without end', async () => {
  let calls = 0;
  const server = createServer((socket) => {
    calls++;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const sql = connect(`postgres://u:p@127.0.0.1:${port}/d`, { max: 1 });
  try {
    const codes = [];
    for (let n = 0; n < 3; n++) codes.push(await sql`SELECT ${1}::int`.catch(errorCode));
    for (const code of codes) expect(code).toBeOneOf(['CONNECTION_CLOSED', 'ECONNRESET']);
    expect(calls).toBe(3);
  } finally {
    await sql.end({ timeout: 0 });
    server.close();
  }
}, 15_000);

test('nobody listens: an outage', async () => {
  const sql = connect('postgres://u:p@127.0.0.1:1/d', { max: 1 });
  const error = await sql`SELECT ${1}::int`.catch((caught: unknown) => caught);
  expect(failureKind(error)).toBe('outage');
  await sql.end({ timeout: 0 });
});

const OPENSSL = Bun.which('openssl');
describe.skipIf(OPENSSL === null && process.env.CI !== 'true')('TLS', () => {
  let folder: string;
  let postgres: EmbeddedPostgres;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pulsegraph-tls-'));
    const make = Bun.spawnSync([
      ...[OPENSSL ?? 'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
      ...['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'certificate.pem')],
    ]);
    expect(make.exitCode).toBe(0);
    postgres = await startPostgres({
      dataDir: folder,
      port: 0,
      logger: pino({ level: 'silent' }),
      settings: { fsync: 'off' },
    });
    // The server takes a key only from a file of its own account.
    const data = join(folder, 'postgres');
    const { uid, gid } = statSync(data);
    for (const name of ['key.pem', 'certificate.pem']) {
      renameSync(join(folder, name), join(data, name));
      chmodSync(join(data, name), 0o600);
      chownSync(join(data, name), uid, gid);
    }
    await query(`ALTER SYSTEM SET ssl_cert_file = 'certificate.pem'`);
    await query(`ALTER SYSTEM SET ssl_key_file = 'key.pem'`);
    await query('ALTER SYSTEM SET ssl = on');
    await query('SELECT pg_reload_conf()');
    await eventually(
      'TLS is on',
      async () => (await query<{ ssl: string }>('SHOW ssl'))[0]?.ssl === 'on',
    );
  }, 60_000);
  afterAll(async () => {
    await postgres?.stop(2_000);
    rmSync(folder, { recursive: true, force: true });
  }, 30_000);

  async function query<Row>(text: string, parameters = ''): Promise<Row[]> {
    const url = postgres.url.replace('127.0.0.1', 'localhost') + parameters;
    const sql = connect(url, { max: 1 });
    try {
      return (await sql.unsafe(text)) as unknown as Row[];
    } finally {
      await sql.end({ timeout: 1 });
    }
  }
  const ENCRYPTED = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()';

  test('is used where the URL asks for it, also for much data, and not else', async () => {
    expect(await query<object>(ENCRYPTED)).toEqual([{ ssl: false }]);
    expect(await query<object>(ENCRYPTED, '?sslmode=disable')).toEqual([{ ssl: false }]);
    expect(await query<object>(ENCRYPTED, '?sslmode=require')).toEqual([{ ssl: true }]);
    expect(await query<object>(ENCRYPTED, '?sslmode=prefer')).toEqual([{ ssl: true }]);
    const [row] = await query<{ t: string }>(
      `SELECT repeat('x', 5000000) AS t`,
      '?sslmode=require',
    );
    expect(row?.t).toHaveLength(5_000_000);
  }, 20_000);

  test('a certificate that nobody vouches for is refused where it is to be verified', async () => {
    await expect(query(ENCRYPTED, '?sslmode=verify-full')).rejects.toThrow(/certificate/i);
  }, 20_000);
});
