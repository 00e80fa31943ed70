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
  url: string;
  /** Null where TEST_DATABASE_URL names somebody's. */
  postgres: EmbeddedPostgres | null;
  /** On the maintenance database. */
  admin: Sql;
  template: string;
  remove(): Promise<void>;
}

/** Of a superuser, on any server, to run the tests on another PostgreSQL or on TimescaleDB. */
const external = process.env.TEST_DATABASE_URL;
/** Names are of this run: an outside server may have others. */
const PREFIX = external ? `test_${process.pid}_` : 'test_';
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
  const { url: serverUrl, admin, template } = await server;
  const name = `${PREFIX}${++count}`;
  const from = options.empty ? 'template0' : template;
  await admin.unsafe(`CREATE DATABASE ${name} TEMPLATE ${from} STRATEGY file_copy`);
  const url = databaseUrl(serverUrl, name);
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
  const { admin, template, remove } = await server;
  server = undefined;
  await admin.unsafe(`DROP DATABASE IF EXISTS ${template} WITH (FORCE)`);
  await admin.end({ timeout: 1 });
  await remove();
}

async function startServer(): Promise<TestServer> {
  const { url, postgres, remove } = external
    ? { url: external, postgres: null, remove: async () => {} }
    : await startEmbedded();
  const template = `${PREFIX}template`;
  const admin = connect(databaseUrl(url, 'postgres'), { max: 1 });
  await admin.unsafe(`CREATE DATABASE ${template}`);
  const migrating = connect(databaseUrl(url, template), { max: 1 });
  await migrate(migrating, model);
  await migrating.end({ timeout: 1 });
  // A template is copied only while nobody is on it, and TimescaleDB's workers would be.
  await admin.unsafe(`ALTER DATABASE ${template} WITH ALLOW_CONNECTIONS false`);
  await admin`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ${template}`;
  return { url, postgres, admin, template, remove };
}

async function startEmbedded() {
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
  const remove = async () => {
    await postgres.stop(2_000);
    rmSync(dataDir, { recursive: true, force: true });
  };
  return { url: postgres.url, postgres, remove };
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
