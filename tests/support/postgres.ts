import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { model } from '../../src/model.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { migrate } from '../../src/store/migrate.ts';
import { isAlive } from './process.ts';

export interface TestDatabase {
  url: string;
  /** A pool on it, for the test's own statements. Ended by `drop`. */
  sql: Sql;
  /** Ends the pool, throws out everybody else, and drops the database. */
  drop(): Promise<void>;
}

interface TestServer {
  postgres: EmbeddedPostgres;
  dataDir: string;
  /** On the maintenance database. */
  admin: Sql;
}

const TEMPLATE = 'migrated';
const FOLDER_PREFIX = 'pulsegraph-test-';
let server: Promise<TestServer> | undefined;
let count = 0;

/**
 * A new database with the schema of src/model.ts on the one PostgreSQL server of this test run,
 * which the first call starts (about a second). A copy of a template: some 30 ms each.
 *
 * @param options.empty without the schema
 */
export async function testDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  server ??= startServer();
  const { postgres, admin } = await server;
  const name = `test_${++count}`;
  await admin.unsafe(
    `CREATE DATABASE ${name} TEMPLATE ${options.empty ? 'template0' : TEMPLATE} STRATEGY file_copy`,
  );
  const url = databaseUrl(postgres.url, name);
  const sql = connect(url, { max: 4, applicationName: 'test' });
  return {
    url,
    sql,
    drop: async () => {
      await sql.end({ timeout: 1 });
      await admin.unsafe(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}

/** The server behind `testDatabase`, for tests that kill or stop it; null before the first call. */
export async function testServer(): Promise<EmbeddedPostgres | null> {
  return (await server)?.postgres ?? null;
}

/** Called once at the end of the run, by preload.ts. */
export async function stopTestServer(): Promise<void> {
  if (server === undefined) return;
  const { postgres, dataDir, admin } = await server;
  server = undefined;
  await admin.end({ timeout: 1 });
  await postgres.stop(2_000);
  rmSync(dataDir, { recursive: true, force: true });
}

async function startServer(): Promise<TestServer> {
  removeLeftFolders();
  const dataDir = mkdtempSync(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-`));
  const postgres = await startPostgres({
    dataDir,
    port: 0,
    logger: pino({ level: 'fatal' }),
    maxConnections: 100,
    // The folder is thrown away: nothing is to outlive a crash of the machine.
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' },
  });
  const admin = connect(databaseUrl(postgres.url, 'postgres'), { max: 1 });
  await admin.unsafe(`CREATE DATABASE ${TEMPLATE}`);
  const template = connect(databaseUrl(postgres.url, TEMPLATE), { max: 1 });
  await migrate(template, model);
  await template.end({ timeout: 1 });
  return { postgres, dataDir, admin };
}

/** Of runs that were killed: their server has stopped by itself, their folder is still there. */
function removeLeftFolders(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(name.startsWith(FOLDER_PREFIX) && name.split('-')[2]);
    if (pid && !isAlive(pid)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function databaseUrl(url: string, name: string): string {
  const result = new URL(url);
  result.pathname = `/${name}`;
  return result.href;
}
