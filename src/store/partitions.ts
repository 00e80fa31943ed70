import type { Model } from '../domain/model.ts';
import type { Micros } from '../domain/time.ts';
import { MICROS_PER_MS } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { errorCode } from './failure.ts';
import { LOCKS } from './migrations.ts';

/** Makes the monthly partitions that readings need, before a batch and outside its transaction. */
export interface PartitionMaker {
  /** Makes what is missing for these event times. Costs nothing for months already seen. */
  ensure(times: Iterable<Micros>): Promise<void>;
  /** Forgets what was seen: a partition was dropped behind our back. */
  forget(): void;
}

export function createPartitionMaker(sql: Sql, model: Model): PartitionMaker {
  const known = new Set<string>();
  let partitioned: boolean | null = null;

  async function ensure(times: Iterable<Micros>): Promise<void> {
    const missing = new Set<string>();
    for (const time of times) {
      const month = monthOf(time);
      if (!known.has(month)) missing.add(month);
    }
    if (missing.size === 0) return;
    partitioned ??= await isPartitioned(sql, model.table);
    for (const month of [...missing].sort()) {
      if (partitioned) await makePartition(sql, model.table, month);
      known.add(month);
    }
  }

  return { ensure, forget: () => known.clear() };
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
 * readers or writers. The advisory lock keeps replicas from making the same one twice.
 */
async function makePartition(sql: Sql, table: string, month: string): Promise<void> {
  const name = `${table}_${month.replace('-', '_')}`;
  const from = `${month}-01 00:00:00+00`;
  const [year = 0, monthNumber = 0] = month.split('-').map(Number);
  const to = new Date(Date.UTC(year, monthNumber, 1)).toISOString();
  try {
    await sql.begin(async (tx) => {
      await tx`SET LOCAL lock_timeout = '5s'`.simple();
      await tx`SELECT pg_advisory_xact_lock(${LOCKS.partitions})`;
      const [attached] = await tx`
        SELECT FROM pg_inherits WHERE inhrelid = to_regclass(${name})
          AND inhparent = to_regclass(${table})`;
      if (attached) return;
      await tx.unsafe(`CREATE TABLE ${name} (LIKE ${table} INCLUDING DEFAULTS INCLUDING INDEXES)`);
      await tx.unsafe(
        `ALTER TABLE ${table} ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`,
      );
    });
  } catch (error) {
    // Somebody made another partition that covers this month (42P17): then nothing is missing.
    if (errorCode(error) !== '42P17') throw error;
  }
}
