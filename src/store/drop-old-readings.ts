import type { Model } from '../domain/model.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { LOCKS } from './migrations.ts';

/**
 * Drops what holds only readings older than `before`: whole partitions, or whole chunks of a
 * hypertable. Dropping costs nothing, deleting rows would cost as much as writing them did; so the
 * readings of a month (a chunk: a week) stay until the last of them is old enough.
 *
 * A drop locks the table for a moment. It waits for that at most 300 ms, since writers wait behind
 * it, and is then refused with 55P03: try again.
 *
 * @returns the names of what was dropped
 */
export async function dropOldReadings(
  sql: Sql,
  model: Pick<Model, 'table'>,
  { before }: { before: Micros },
): Promise<string[]> {
  const [extension] = await sql<{ schema: string }[]>`
    SELECT nspname AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE extname = ${'timescaledb'}`;
  if (extension && (await isTable(sql, model.table))) {
    return await dropChunks(sql, extension.schema, model.table, before);
  }
  const names = await oldPartitions(sql, model.table, before);
  for (const name of names) await dropPartition(sql, name);
  return names;
}

/** False for a table with native partitions, made before the extension was. */
async function isTable(sql: Sql, table: string): Promise<boolean> {
  const rows = await sql`
    SELECT FROM pg_class WHERE oid = to_regclass(${table}) AND relkind = 'r'`;
  return rows.length > 0;
}

async function dropChunks(
  sql: Sql,
  schema: string,
  table: string,
  before: Micros,
): Promise<string[]> {
  return await sql.begin(async (tx) => {
    await tx.unsafe(TIMEOUTS);
    const rows = await tx<{ name: string }[]>`
      SELECT ${tx(schema)}.drop_chunks(${table}::regclass, older_than => ${before}::timestamptz)
        AS name`;
    return rows.map(({ name }) => name);
  });
}

async function oldPartitions(sql: Sql, table: string, before: Micros): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    SELECT name FROM (
      SELECT c.oid::regclass::text AS name,
        (regexp_match(pg_get_expr(c.relpartbound, c.oid), ${"TO \\('([^']+)'\\)"}))[1] AS upto
      FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
      WHERE inhparent = to_regclass(${table})) AS partition
    WHERE upto::timestamptz <= ${before}::timestamptz ORDER BY upto::timestamptz`;
  return rows.map(({ name }) => name);
}

/** In one step, so that a writer of late readings finds it there or makes it anew. */
async function dropPartition(sql: Sql, name: string): Promise<void> {
  await sql.begin(async (tx) => {
    await tx.unsafe(TIMEOUTS);
    await tx`SELECT pg_advisory_xact_lock(${LOCKS.partitions})`;
    // As Postgres names it, quoted where it must be.
    await tx.unsafe(`DROP TABLE IF EXISTS ${name}`);
  });
}

const TIMEOUTS = `SET LOCAL lock_timeout = '300ms'; SET LOCAL statement_timeout = '60s'`;
