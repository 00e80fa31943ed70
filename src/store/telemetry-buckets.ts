import type { Bucket, BucketRange } from '../domain/buckets.ts';
import type { Model } from '../domain/model.ts';
import { ROLLUP_MICROS, rolledColumns, rollupStart } from '../domain/rollup.ts';
import { formatMicros, MICROS_PER_SECOND, type Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { STATISTIC_NAMES, type Statistic } from './rollups-schema.ts';
import { combinedPart, type Parts, rawPart, statisticName } from './telemetry-parts.ts';
import { textArray } from './text-array.ts';

/** One device's readings of one key in one bucket; only where there is at least one. */
export interface BucketRow {
  deviceId: string;
  key: string;
  /** Into the buckets that were asked for. */
  bucket: number;
  count: number;
  sum: number;
  min: number;
  max: number;
  first: number | null;
  last: number | null;
}

export interface BucketQuery {
  userId: string;
  deviceIds: readonly string[];
  /** At least one. */
  keys: readonly string[];
  /** At least one. */
  buckets: readonly Bucket[];
  /** Of the buckets, where they are aligned to the epoch; null where they follow a calendar. */
  width: Micros | null;
  /** Readings outside it don't count, though their bucket reaches out of it. */
  range: BucketRange;
  /** Whether first and last are wanted. */
  ends: boolean;
}

/** Shorter ones are too many for a range of the index each. */
const MIN_SPAN = 2 * ROLLUP_MICROS;
/** Shorter ones that don't begin on a step would take too little from the rollups. */
const MIN_UNALIGNED = 4 * ROLLUP_MICROS;

/**
 * Statistics of several keys, devices and buckets in one statement: from the rollups what they
 * hold, and from the readings what is left. A bucket of a calendar is a range of the index, so no
 * row pays for finding its bucket, and any calendar will do: the bounds come from outside. Many
 * short buckets would be as many ranges, so they are one range for each device, which is grouped.
 * docs/database.md has the figures.
 *
 * @returns in order of time for each device and key
 */
export async function telemetryBuckets(
  sql: Sql,
  model: Model,
  query: BucketQuery,
): Promise<BucketRow[]> {
  const { userId, deviceIds, keys, buckets, range, ends } = query;
  const { useRollups, width } = wayOf(model, query);
  const parts: Parts = { sql, model, userId, keys, width, ends };
  const spans = width === null ? buckets : [{ start: range.from, end: range.to }];
  const part = useRollups ? combinedPart(parts) : rawPart(parts);
  const names = keys.flatMap((_, place) =>
    STATISTIC_NAMES.map((name) => statisticName(name, place)),
  );
  const counts = keys.map((_, place) => statisticName('count', place)).join(', ');
  const rows = await sql<Row[]>`
    SELECT place::int - 1 AS device, ${bucketOf(sql, buckets[0] as Bucket, width)} AS bucket,
      ${sql(names)}
    FROM unnest(${textArray(deviceIds)}::text[]) WITH ORDINALITY AS device (d, place)
    CROSS JOIN (${spansOf(sql, spans, range)}) AS span
    CROSS JOIN LATERAL (${part}) AS statistics
    WHERE greatest(${sql.unsafe(counts)}) > 0 ORDER BY place, 2`;
  return rows.flatMap((row) => keys.flatMap((key, place) => rowOf(row, key, place, deviceIds)));
}

/** How the query is answered: whether from rollups, and the cells that each device is grouped by. */
function wayOf(
  model: Model,
  { keys, width }: BucketQuery,
): { useRollups: boolean; width: Micros | null } {
  const rolled = rolledColumns(model);
  const aligned = width !== null && width % ROLLUP_MICROS === 0;
  const useRollups =
    keys.every((key) => rolled.includes(key)) &&
    (width === null || aligned || width >= MIN_UNALIGNED);
  const grouped = useRollups ? aligned : width !== null && width < MIN_SPAN;
  return { useRollups, width: grouped ? width : null };
}

/** Each span with what of it can be rolled up, [m0, m1): where nothing is, both are its end. */
function spansOf(sql: Sql, spans: readonly Bucket[], { from, to }: BucketRange) {
  const starts = spans.map(({ start }) => Math.max(start, from));
  const stops = spans.map(({ end }) => Math.min(end, to));
  const times = (values: readonly Micros[]) => textArray(values.map(formatMicros));
  return sql`
    SELECT nth, start, stop, CASE WHEN m0 < m1 THEN m0 ELSE stop END AS m0,
      CASE WHEN m0 < m1 THEN m1 ELSE stop END AS m1
    FROM (
      SELECT nth, start, stop, greatest(head, kept_from) AS m0,
        least(tail, coalesce(built_to, 'epoch')) AS m1
      FROM unnest(
        ${times(starts)}::timestamptz[], ${times(stops)}::timestamptz[],
        ${times(starts.map((start) => rollupStart(start + ROLLUP_MICROS - 1)))}::timestamptz[],
        ${times(stops.map(rollupStart))}::timestamptz[]
      ) WITH ORDINALITY AS bounds (start, stop, head, tail, nth)
      LEFT JOIN rollup_progress ON true
    ) AS bounds`;
}

/** The number of a row's bucket, from 0. */
function bucketOf(sql: Sql, { start }: Bucket, width: Micros | null) {
  if (width === null) return sql`nth::int - 1`;
  const [from, step] = [start / MICROS_PER_SECOND, width / MICROS_PER_SECOND];
  return sql`round((date_part('epoch', cell) - ${from}::float8) / ${step}::float8)::int`;
}

type Row = Record<string, number>;

function rowOf(
  row: Row,
  key: string,
  place: number,
  deviceIds: readonly string[],
): BucketRow | never[] {
  const statistic = (name: Statistic) => row[statisticName(name, place)] as number;
  const count = statistic('count');
  if (!(count > 0)) return [];
  return {
    deviceId: deviceIds[row.device as number] as string,
    key,
    bucket: row.bucket as number,
    count,
    sum: statistic('sum'),
    min: statistic('min'),
    max: statistic('max'),
    first: statistic('first'),
    last: statistic('last'),
  };
}
