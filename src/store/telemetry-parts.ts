import type { PendingQuery, Row } from 'postgres';
import type { Model } from '../domain/model.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { ROLLUPS, rollupColumn, STATISTIC_NAMES, type Statistic } from './rollups-schema.ts';
import { numericValue, sumOf } from './telemetry-value.ts';

/**
 * The SQL of statistics over one device's stretch of time, for `telemetryBuckets`. It stands in a
 * LATERAL behind `device (d)` and `span (start, stop, m0, m1)`; what is rolled up is in [m0, m1).
 * Each row is of one cell and has `statisticName` of each key.
 */
export interface Parts {
  sql: Sql;
  model: Model;
  userId: string;
  keys: readonly string[];
  /** The length of the cells, aligned to the epoch; null where a whole span is one. */
  width: Micros | null;
  /** Whether first and last are wanted; they are null elsewhere. */
  ends: boolean;
}

type Fragment = PendingQuery<Row[]>;

/** `count_0` is the count of the first key. */
export function statisticName(statistic: Statistic, place: number): string {
  return `${statistic}_${place}`;
}

/** From the readings alone. */
export function rawPart(parts: Parts): Fragment {
  return readingsBetween(parts, parts.sql`span.start`, parts.sql`span.stop`);
}

/**
 * From the rollups, and from the readings before, behind and where a rollup is marked. The parts
 * have no moment in common, so their order by `at` is that of their first and last readings.
 */
export function combinedPart(parts: Parts): Fragment {
  const { sql, userId, keys, width, ends } = parts;
  const lists = keys.flatMap((_, place) =>
    STATISTIC_NAMES.map((name) => merged(name, place, ends)),
  );
  const { bin, groupBy } = cell(parts, 'cell');
  const marks = sql`
    FROM rollup_marks AS mark WHERE mark.user_id = ${userId} AND mark.device_id = device.d`;
  return sql`
    SELECT ${width === null ? bin : sql`cell`}, ${sql.unsafe(lists.join(', '))}
    FROM (
      SELECT EXISTS (SELECT ${marks} AND bucket >= span.m0 AND bucket < span.m1) AS marked OFFSET 0
    ) AS marks
    CROSS JOIN LATERAL (
      SELECT bucket AS at, ${cell(parts, 'bucket').bin}, ${sql.unsafe(rollupList(keys))}
      FROM ${sql(ROLLUPS)} AS rollup
      WHERE rollup.user_id = ${userId} AND rollup.device_id = device.d
        AND bucket >= span.m0 AND bucket < span.m1
        AND (NOT marks.marked OR NOT EXISTS (SELECT ${marks} AND mark.bucket = rollup.bucket))
      UNION ALL
      SELECT part.* FROM (
        SELECT * FROM (VALUES (span.start, span.m0), (span.m1, span.stop)) AS edge (a, b)
        WHERE a < b
        UNION ALL
        SELECT DISTINCT bucket, bucket + interval '15 minutes' ${marks}
          AND marks.marked AND bucket >= span.m0 AND bucket < span.m1
      ) AS gap CROSS JOIN LATERAL (${readingsBetween(parts, sql`gap.a`, sql`gap.b`)}) AS part
    ) AS part ${groupBy}`;
}

/** Partial statistics of the readings in [from, to), with `at`, a moment at or before the first. */
function readingsBetween(parts: Parts, from: Fragment, to: Fragment): Fragment {
  const { sql, model, userId, keys, width } = parts;
  const between = sql`FROM ${sql(model.table)} AS reading
    WHERE reading.user_id = ${userId} AND reading.device_id = device.d
      AND reading.time >= ${from} AND reading.time < ${to}`;
  const values = list(
    sql,
    keys.map((key, place) => {
      return sql`${numericValue(sql, model, key)} AS ${sql(`v${place}`)}`;
    }),
  );
  const statistics = list(
    sql,
    keys.map((key, place) => {
      const value = `v${place}`;
      const column = Object.hasOwn(model.columns, key) ? model.columns[key] : undefined;
      return sql`count(${sql(value)})::int AS ${sql(statisticName('count', place))},
      ${sql.unsafe(sumOf(value, column))} AS ${sql(statisticName('sum', place))},
      min(${sql(value)}) AS ${sql(statisticName('min', place))},
      max(${sql(value)}) AS ${sql(statisticName('max', place))},
      ${end(parts, place, between, 'first')} AS ${sql(statisticName('first', place))},
      ${end(parts, place, between, 'last')} AS ${sql(statisticName('last', place))}`;
    }),
  );
  const { bin, groupBy } = cell(parts, 'time');
  const at = width === null ? from : sql`min(time)`;
  return sql`
    SELECT ${at} AS at, ${bin}, ${statistics}
    FROM (SELECT time, sequence_id, ${values} ${between}) AS reading ${groupBy}`;
}

/** A probe of the index at each end of a whole span; the many short cells of one are sorted. */
function end(parts: Parts, place: number, between: Fragment, which: 'first' | 'last'): Fragment {
  const { sql, model, keys, width, ends } = parts;
  if (!ends) return sql`NULL::double precision`;
  if (width !== null) return sql.unsafe(endOf(`v${place}`, 'time, sequence_id', which));
  const value = numericValue(sql, model, keys[place] as string);
  const order = which === 'first' ? sql`time, sequence_id` : sql`time DESC, sequence_id DESC`;
  return sql`(SELECT ${value} ${between} AND ${value} IS NOT NULL ORDER BY ${order} LIMIT 1)`;
}

/** Of one array for both, which is sorted once. */
function endOf(value: string, order: string, which: 'first' | 'last'): string {
  const inOrder = `(array_agg(${value} ORDER BY ${order}) FILTER (WHERE ${value} IS NOT NULL))`;
  return which === 'first' ? `${inOrder}[1]` : `${inOrder}[count(${value})]`;
}

function merged(statistic: Statistic, place: number, ends: boolean): string {
  const name = statisticName(statistic, place);
  if (statistic === 'count') return `sum(${name})::int AS ${name}`;
  if (statistic === 'sum' || statistic === 'min' || statistic === 'max') {
    return `${statistic}(${name}) AS ${name}`;
  }
  return `${ends ? endOf(name, 'at', statistic) : 'NULL::double precision'} AS ${name}`;
}

function rollupList(keys: readonly string[]): string {
  return keys
    .flatMap((key, place) =>
      STATISTIC_NAMES.map((name) => `${rollupColumn(key, name)} AS ${statisticName(name, place)}`),
    )
    .join(', ');
}

/** The cell of a moment, and how to group by it. */
function cell({ sql, width }: Parts, time: string): { bin: Fragment; groupBy: Fragment } {
  if (width === null) return { bin: sql`NULL::timestamptz AS cell`, groupBy: sql`` };
  const interval = sql`${`${width} microseconds`}::text::interval`;
  return {
    bin: sql`date_bin(${interval}, ${sql(time)}, 'epoch') AS cell`,
    groupBy: sql`GROUP BY cell`,
  };
}

function list(sql: Sql, items: readonly Fragment[]): Fragment {
  return items.reduce((all, item) => sql`${all}, ${item}`);
}
