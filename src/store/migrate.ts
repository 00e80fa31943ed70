import type { Model } from '../domain/model.ts';
import type { Sql } from './connection.ts';
import { LOCKS, migrations } from './migrations.ts';

/**
 * Brings the schema up to date; safe to run from many replicas at once. Needs a direct URL: a
 * transaction pooler would do too, since the lock belongs to the transaction.
 *
 * @returns the versions applied now
 * @throws Error when the database was made by a newer Pulsegraph
 */
export async function migrate(sql: Sql, model: Model): Promise<number[]> {
  const steps = migrations(model);
  return await sql.begin(async (tx) => {
    await tx`SELECT pg_advisory_xact_lock(${LOCKS.migrations})`;
    await tx.unsafe(MIGRATIONS_TABLE);
    const applied = new Set(
      (await tx<{ version: number }[]>`SELECT version FROM schema_migrations`).map(
        (row) => row.version,
      ),
    );
    const newest = Math.max(0, ...applied);
    if (newest > steps.length) {
      throw new Error(
        `the database has schema version ${newest}, this Pulsegraph knows ${steps.length}: ` +
          'start the newer version, or point DATABASE_URL at another database',
      );
    }
    const missing = steps.filter((step) => !applied.has(step.version));
    for (const step of missing) {
      await tx.unsafe(step.sql);
      await tx`INSERT INTO schema_migrations (version, name) VALUES (${step.version}, ${step.name})`;
    }
    return missing.map((step) => step.version);
  });
}

const MIGRATIONS_TABLE = `CREATE TABLE IF NOT EXISTS schema_migrations (
  version integer PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);`;

/** The text of init.sql: a new database in one file, as `migrate` would leave it. */
export function initSql(model: Model): string {
  const steps = migrations(model);
  return [
    '-- Made by `bun run generate` from src/model.ts and src/store/migrations.ts: edit those.',
    'BEGIN;',
    MIGRATIONS_TABLE,
    ...steps.map(
      (step) =>
        `\n-- ${step.version}: ${step.name}${step.sql}\nINSERT INTO schema_migrations (version, name) VALUES (${step.version}, '${step.name}');`,
    ),
    'COMMIT;\n',
  ].join('\n');
}
