import type { PendingQuery, Row } from 'postgres';
import type { Model } from '../domain/model.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { keySql } from './reading-columns.ts';
import { ROLLUPS, rollupColumn, STATISTIC_NAMES, type Statistic } from './rollups-schema.ts';
import { asDouble, isDeclared, storedValue, sumOf } from './telemetry-value.ts';

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
  const key = keySql(sql, model, 'reading');
  const between = sql`FROM ${sql(model.table)} AS reading
    WHERE ${key.owner} = ${userId} AND ${key.device} = device.d
      AND reading.time >= ${from} AND reading.time < ${to}`;
  const statistics = keys.flatMap((_, place) =>
    STATISTIC_NAMES.map((name) => {
      return sql`${partial(parts, name, place, between)} AS ${sql(statisticName(name, place))}`;
    }),
  );
  const { bin, groupBy } = cell(parts, 'time');
  const at = width === null ? from : sql`min(time)`;
  return sql`
    SELECT ${at} AS at, ${bin}, ${list(sql, statistics)}
    FROM (${values(parts, between)}) AS reading ${groupBy}`;
}

/**
 * Each reading's values as doubles: `v0` is that of the first key. OFFSET 0 keeps what stands in
 * jsonb from being taken out of there again for each use: a fifth of the time.
 */
function values({ sql, model, keys }: Parts, between: Fragment): Fragment {
  const stored = keys.map((key, place) => {
    return sql`${storedValue(sql, model, key)} AS ${sql(`s${place}`)}`;
  });
  const doubles = keys.map((key, place) => {
    return sql`${asDouble(sql, model, key, sql`${sql(`s${place}`)}`)} AS ${sql(`v${place}`)}`;
  });
  const once = keys.every((key) => isDeclared(model, key)) ? sql`` : sql`OFFSET 0`;
  const { sequence } = keySql(sql, model, 'reading');
  return sql`
    SELECT time, sequence_id, ${list(sql, doubles)} FROM (
      SELECT time, ${sequence} AS sequence_id, ${list(sql, stored)} ${between} ${once}) AS stored ${once}`;
}

function partial(parts: Parts, name: Statistic, place: number, between: Fragment): Fragment {
  const { sql, model, keys } = parts;
  const key = keys[place] as string;
  const value = `v${place}`;
  if (name === 'first' || name === 'last') return end(parts, place, between, name);
  if (name === 'count') return sql.unsafe(`count(${value})::int`);
  if (name !== 'sum') return sql.unsafe(`${name}(${value})`);
  return sql.unsafe(
    sumOf(value, Object.hasOwn(model.columns, key) ? model.columns[key] : undefined),
  );
}

/** A probe of the index at each end of a whole span; the many short cells of one are sorted. */
function end(parts: Parts, place: number, between: Fragment, which: 'first' | 'last'): Fragment {
  const { sql, model, keys, width, ends } = parts;
  if (!ends) return sql`NULL::double precision`;
  if (width !== null) return sql.unsafe(endOf(`v${place}`, 'time, sequence_id', which));
  const key = keys[place] as string;
  const value = asDouble(sql, model, key, storedValue(sql, model, key));
  const { sequence } = keySql(sql, model, 'reading');
  const order = which === 'first' ? sql`time, ${sequence}` : sql`time DESC, ${sequence} DESC`;
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
