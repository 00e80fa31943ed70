import type { Model } from '../domain/model.ts';
import type { Micros } from '../domain/time.ts';
import { MICROS_PER_MS } from '../domain/time.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { errorCode, failureKind } from './failure.ts';
import { LOCKS } from './migrations.ts';

/** Makes the monthly partitions that readings need, before a batch and outside its transaction. */
export interface PartitionMaker {
  /** Makes what is missing for these event times. Costs nothing for months already seen. */
  ensure(times: Iterable<Micros>): Promise<void>;
  /** Forgets what was seen: a partition was dropped behind our back. */
  forget(): void;
}

export function createPartitionMaker(sql: Sql, model: Pick<Model, 'table'>): PartitionMaker {
  const known = new Set<string>();
  /** The known month that a time was last in: readings mostly follow each other within one. */
  let current = NO_MONTH;
  let partitioned: boolean | null = null;

  async function ensure(times: Iterable<Micros>): Promise<void> {
    const missing = new Set<string>();
    for (const time of times) {
      if (time >= current.from && time < current.to) continue;
      const month = monthOf(time);
      if (known.has(month)) current = boundsOf(time);
      else missing.add(month);
    }
    if (missing.size === 0) return;
    partitioned ??= await isPartitioned(sql, model.table);
    for (const month of [...missing].sort()) {
      if (partitioned) await makePartition(sql, model.table, month);
      known.add(month);
    }
  }

  return {
    ensure,
    forget() {
      known.clear();
      current = NO_MONTH;
    },
  };
}

const NO_MONTH = { from: 0, to: 0 };

/** Of the month that the time is in. */
function boundsOf(time: Micros): { from: Micros; to: Micros } {
  const date = new Date(Math.floor(time / MICROS_PER_MS));
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  const start = (at: number) => Date.UTC(year, at) * MICROS_PER_MS;
  return { from: start(month), to: start(month + 1) };
}

/** `2014-01` of an event time, in UTC. */
export function monthOf(time: Micros): string {
  return new Date(Math.floor(time / MICROS_PER_MS)).toISOString().slice(0, 7);
}

async function isPartitioned(sql: Sql, table: string): Promise<boolean> {
  const [row] = await sql<{ relkind: string }[]>`
    SELECT relkind FROM pg_class WHERE oid = to_regclass(${table})`;
  if (!row) throw new Error(`table ${table} is missing: was the schema migrated?`);
  return row.relkind === 'p';
}

/**
 * Made apart and attached, which locks the parent against schema changes only, never against
 * readers or writers. The advisory lock keeps replicas from making the same one twice. One that
 * was detached is attached again, with what it holds.
 *
 * @throws Error without a code where something else has its name, as no reading is at fault then
 */
async function makePartition(sql: Sql, table: string, month: string): Promise<void> {
  const name = `${table}_${month.replace('-', '_')}`;
  try {
    await sql.begin(async (transactionSql) => {
      const tx = transactionSql as unknown as TransactionSql;
      await tx`SET LOCAL lock_timeout = '5s'`.simple();
      await tx`SELECT pg_advisory_xact_lock(${LOCKS.partitions})`;
      const found = await relation(tx, name, table);
      if (found === 'partition') return;
      if (found === 'leaving') throw isLeaving(table, name);
      if (found === 'none') {
        await tx.unsafe(
          `CREATE TABLE ${name} (LIKE ${table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)`,
        );
      }
      const attached = attach(tx, table, name, month);
      await (found === 'none' ? attached : attached.catch((error) => explain(error, name, month)));
    });
  } catch (error) {
    // Another partition covers this month, or the default one holds readings of it: then nothing
    // is missing.
    if (errorCode(error) !== '42P17' && errorCode(error) !== '23514') throw error;
  }
}

async function relation(
  tx: TransactionSql,
  name: string,
  table: string,
): Promise<'none' | 'partition' | 'leaving' | 'other'> {
  const [row] = await tx<{ attached: boolean; leaving: boolean }[]>`
    SELECT i.inhrelid IS NOT NULL AS attached, coalesce(i.inhdetachpending, false) AS leaving
    FROM pg_class c
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = to_regclass(${table})
    WHERE c.oid = to_regclass(${name})`;
  if (row === undefined) return 'none';
  if (row.leaving) return 'leaving';
  return row.attached ? 'partition' : 'other';
}

async function attach(
  tx: TransactionSql,
  table: string,
  name: string,
  month: string,
): Promise<void> {
  const from = `${month}-01 00:00:00+00`;
  const [year = 0, monthNumber = 0] = month.split('-').map(Number);
  const to = new Date(Date.UTC(year, monthNumber, 1)).toISOString();
  await tx.unsafe(
    `ALTER TABLE ${table} ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`,
  );
}

function isLeaving(table: string, name: string): Error {
  const message =
    `${name} is being detached: wait for it, or end it with ` +
    `ALTER TABLE ${table} DETACH PARTITION ${name} FINALIZE`;
  // object_in_use, which is waited out
  return Object.assign(new Error(message), { code: '55006' });
}

function explain(error: unknown, name: string, month: string): never {
  if (failureKind(error) === 'outage') throw error;
  throw new Error(
    `${name} stands where the partition of ${month} belongs, and can't be attached ` +
      `(${(error as Error).message}): rename or drop it, then restart`,
    { cause: error },
  );
}
