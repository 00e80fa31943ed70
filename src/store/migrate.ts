import type { Model } from '../domain/model.ts';
import { StartError } from '../domain/start-error.ts';
import { adaptTables, checkModel } from './adapt-model.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { errorCode } from './failure.ts';
import { LOCKS, migrations } from './migrations.ts';

const OLDEST_SERVER = 15;

export interface MigrateOptions {
  /** Stops at this version; for tests of an upgrade. */
  upTo?: number;
  /** Called with what a changed model has added to the tables, once that is committed. */
  onAdapted?: (additions: readonly string[]) => void;
}

/**
 * Brings the schema up to date, and adds to it what the model has more than before; safe to run from
 * many replicas at once. Needs a direct URL: a transaction pooler would do too, since the lock
 * belongs to the transaction.
 *
 * @returns the versions applied now
 * @throws StartError when the server is too old, the database was made by a newer Pulsegraph or for
 *   a model that this one does not fit, the tables are in use, or the role may not make what is
 *   missing
 */
export async function migrate(
  sql: Sql,
  model: Model,
  { upTo = Number.POSITIVE_INFINITY, onAdapted = () => {} }: MigrateOptions = {},
): Promise<number[]> {
  const steps = migrations(model);
  const additions: string[] = [];
  const work = async (tx: TransactionSql) => {
    additions.length = 0;
    await checkServer(tx);
    await tx`SELECT pg_advisory_xact_lock(${LOCKS.migrations})`;
    const applied = await appliedVersions(tx);
    const newest = Math.max(0, ...applied);
    if (newest > steps.length) {
      throw new StartError(
        'DATABASE_UNUSABLE',
        `the database has schema version ${newest}, this Pulsegraph knows ${steps.length}: ` +
          'start the newer version, or point DATABASE_URL at another database',
      );
    }
    if (applied.has(1)) await checkModel(tx, model);
    const missing = steps.filter(({ version }) => !applied.has(version) && version <= upTo);
    for (const step of missing) {
      await tx.unsafe(step.sql);
      await tx`
        INSERT INTO schema_migrations (version, name) VALUES (${step.version}, ${step.name})`;
    }
    if (applied.has(1) && upTo >= steps.length) additions.push(...(await adaptTables(tx, model)));
    return missing.map((step) => step.version);
  };
  try {
    const applied = await untilFree(() => sql.begin((tx) => work(tx as unknown as TransactionSql)));
    if (additions.length > 0) onAdapted(additions);
    return applied;
  } catch (error) {
    throw errorCode(error) === '42501' ? notAllowed(error as Error) : error;
  }
}

/** lock_not_available, deadlock_detected */
const IN_USE = ['55P03', '40P01'];
const TRIES = 6;

/** Tables are to be changed while replicas work on them: one that is in use is tried again. */
async function untilFree<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (!IN_USE.includes(errorCode(error) ?? '')) throw error;
      if (tries < TRIES) continue;
      throw new StartError(
        'DATABASE_UNUSABLE',
        'the tables have to be changed for the model, and are in use by long statements: end those ' +
          '(SELECT * FROM pg_stat_activity), and start again',
        { cause: error },
      );
    }
  }
}

async function checkServer(tx: TransactionSql): Promise<void> {
  const [row] = await tx<{ version: string }[]>`
    SELECT current_setting('server_version') AS version`;
  if (Number.parseInt(row?.version ?? '', 10) >= OLDEST_SERVER) return;
  throw new StartError(
    'DATABASE_UNUSABLE',
    `DATABASE_URL is a PostgreSQL ${row?.version}: use version ${OLDEST_SERVER} or later`,
  );
}

async function appliedVersions(tx: TransactionSql): Promise<Set<number>> {
  // Not IF NOT EXISTS alone: that needs the right to create though there is nothing to create.
  const [found] = await tx`SELECT WHERE to_regclass('schema_migrations') IS NOT NULL`;
  if (found === undefined) await tx.unsafe(MIGRATIONS_TABLE);
  const rows = await tx<{ version: number }[]>`SELECT version FROM schema_migrations`;
  return new Set(rows.map((row) => row.version));
}

function notAllowed(error: Error): StartError {
  return new StartError(
    'DATABASE_UNUSABLE',
    `the role of DATABASE_URL may not make the schema (${error.message}): make it the owner of ` +
      'the database, or grant it CREATE and USAGE on the schema; see docs/database.md',
    { cause: error },
  );
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
