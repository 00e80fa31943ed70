import type { Model } from '../domain/model.ts';
import { rolledColumns } from '../domain/rollup.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { LOCKS } from './migrations.ts';
import { keySql } from './reading-columns.ts';
import { ROLLUPS, rollupColumn, STATISTIC_NAMES, type Statistic } from './rollups-schema.ts';
import { sumOf } from './telemetry-value.ts';

/** A stretch of time, both ends on a step. */
export interface RollupRange {
  from: Micros;
  /** Exclusive. */
  to: Micros;
}

/** The first reading at or after `from` and before `to`; null where there is none. */
export async function firstReading(
  sql: Sql,
  model: Model,
  { from, to }: RollupRange,
): Promise<Micros | null> {
  const [row] = await sql<{ time: Micros }[]>`
    SELECT time FROM ${sql(model.table)}
    WHERE time >= ${from}::timestamptz AND time < ${to}::timestamptz ORDER BY time LIMIT 1`;
  return row?.time ?? null;
}

/**
 * Rolls up every reading of a range, and moves `built_to` from `builtTo` to its end. A million
 * readings of two columns take 1.6 s.
 *
 * @param options.slices a power of two: in as many transactions, each for its share of the devices
 * @returns false where `built_to` stands elsewhere: nothing counts then
 */
export async function buildRollups(
  sql: Sql,
  model: Model,
  { from, to }: RollupRange,
  { builtTo, slices }: { builtTo: Micros; slices: number },
): Promise<boolean> {
  const { owner, device } = keySql(sql, model, 'reading');
  const build = async (tx: TransactionSql, slice: number) => {
    const mine = sql`
      AND hashtextextended(${owner} || '/' || ${device}, 0) & ${slices - 1}::bigint = ${slice}::bigint`;
    await tx`
      INSERT INTO ${tx(ROLLUPS)} (${tx.unsafe(columnList(model))})
      SELECT ${owner}, ${device}, date_bin('15 minutes', time, 'epoch'),
        ${tx.unsafe(aggregates(model))}
      FROM ${tx(model.table)} AS reading
      WHERE time >= ${from}::timestamptz AND time < ${to}::timestamptz ${slices > 1 ? mine : sql``}
      GROUP BY 1, 2, 3
      ${tx.unsafe(onConflict(model))}`;
  };
  for (let slice = 1; slice < slices; slice++) await alone(sql, (tx) => build(tx, slice));
  return await alone(sql, async (tx) => {
    const moved = await tx`
      UPDATE rollup_progress SET built_to = ${to} WHERE built_to = ${builtTo}::timestamptz`;
    if (moved.count === 0) return false;
    await build(tx, 0);
    return true;
  });
}

/** The steps for which the next `rebuildMarked` will make rollups: their partitions must be there. */
export async function markedBuckets(
  sql: Sql,
  { generation, limit }: { generation: number; limit: number },
): Promise<Micros[]> {
  const rows = await sql<{ bucket: Micros }[]>`
    SELECT DISTINCT bucket FROM (${oldestMarks(sql, generation, limit)}) AS mark
    WHERE bucket >= (SELECT kept_from FROM rollup_progress)`;
  return rows.map(({ bucket }) => bucket);
}

/**
 * Makes the rollups of up to `limit` marks from before `generation` anew, and removes these marks.
 * What commits meanwhile sets marks of a newer generation, which stay.
 *
 * @returns how many marks it removed
 */
export async function rebuildMarked(
  sql: Sql,
  model: Model,
  { generation, limit }: { generation: number; limit: number },
): Promise<number> {
  return await alone(sql, async (tx) => {
    const key = keySql(tx, model, 'reading');
    const [row] = await tx<{ removed: number }[]>`
      WITH mark AS (
        DELETE FROM rollup_marks
        WHERE (user_id, device_id, bucket, generation) IN (${oldestMarks(tx, generation, limit)})
        RETURNING user_id, device_id, bucket
      ), step AS (
        SELECT DISTINCT user_id, device_id, bucket FROM mark
        WHERE bucket >= (SELECT kept_from FROM rollup_progress)
      ), rebuilt AS (
        INSERT INTO ${tx(ROLLUPS)} (${tx.unsafe(columnList(model))})
        SELECT step.user_id, step.device_id, step.bucket, statistics.*
        FROM step CROSS JOIN LATERAL (
          SELECT ${tx.unsafe(aggregates(model))} FROM ${tx(model.table)} AS reading
          WHERE ${key.owner} = step.user_id AND ${key.device} = step.device_id
            AND time >= step.bucket AND time < step.bucket + interval '15 minutes'
        ) AS statistics
        ${tx.unsafe(onConflict(model))}
      )
      SELECT count(*) AS removed FROM mark`;
    return row?.removed ?? 0;
  });
}

function oldestMarks(sql: Sql | TransactionSql, generation: number, limit: number) {
  return sql`
    SELECT user_id, device_id, bucket, generation FROM rollup_marks
    WHERE generation < ${generation}::bigint
    ORDER BY user_id, device_id, bucket, generation LIMIT ${limit}::int`;
}

/**
 * One at a time, whoever was elected: a rollup made from an older state must not come after one
 * that was made from a newer.
 */
async function alone<T>(sql: Sql, work: (tx: TransactionSql) => Promise<T>): Promise<T> {
  const whole = async (transactionSql: unknown) => {
    const tx = transactionSql as TransactionSql;
    await tx`SET LOCAL statement_timeout = '60s'`.simple();
    await tx`SELECT pg_advisory_xact_lock(${LOCKS.rollups})`;
    return await work(tx);
  };
  return (await sql.begin(whole)) as T;
}

function columnList(model: Model): string {
  return ['user_id', 'device_id', 'bucket', ...statisticColumns(model)].join(', ');
}

function statisticColumns(model: Model): string[] {
  return rolledColumns(model).flatMap((column) =>
    STATISTIC_NAMES.map((name) => rollupColumn(column, name)),
  );
}

function aggregates(model: Model): string {
  const order = ['time', ...(model.sequence === null ? [] : [`reading.${model.sequence.column}`])];
  return rolledColumns(model)
    .flatMap((name) => STATISTIC_NAMES.map((kind) => aggregate(name, kind, { model, order })))
    .join(', ');
}

/** Of the readings of one step. Both ends come from one sorted array, which is made but once. */
function aggregate(
  name: string,
  kind: Statistic,
  { model, order }: { model: Model; order: readonly string[] },
): string {
  const value = `reading.${name}::double precision`;
  const inOrder = `(array_agg(${value} ORDER BY ${order.join(', ')})
    FILTER (WHERE reading.${name} IS NOT NULL))`;
  if (kind === 'count') return `count(${value})::int`;
  if (kind === 'sum') return sumOf(value, model.columns[name]);
  if (kind === 'first') return `${inOrder}[1]`;
  if (kind === 'last') return `${inOrder}[count(${value})]`;
  return `${kind}(${value})`;
}

function onConflict(model: Model): string {
  const sets = statisticColumns(model).map((name) => `${name} = excluded.${name}`);
  return `ON CONFLICT (user_id, device_id, bucket) DO UPDATE SET ${sets.join(', ')}`;
}
