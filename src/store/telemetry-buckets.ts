import type { Bucket, BucketRange } from '../domain/buckets.ts';
import type { Model } from '../domain/model.ts';
import { formatMicros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { numericValue } from './telemetry-value.ts';
import { textArray } from './text-array.ts';

/** One device's readings of one key in one bucket; only where there is at least one. */
export interface BucketRow {
  deviceId: string;
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
  key: string;
  buckets: readonly Bucket[];
  /** Readings outside it don't count, though their bucket reaches out of it. */
  range: BucketRange;
  /** Whether first and last are wanted: they cost two more probes of the index for each bucket. */
  ends: boolean;
}

/**
 * Statistics of one key, for several devices and buckets in one statement. Each bucket is a range
 * of the index, so no row pays for finding its bucket, and any calendar will do: the bounds come
 * from outside. A year of minute readings of one device as days: 130 ms, of which a bare count of
 * the rows takes 60; grouping by date_bin takes 190, by date_trunc with a zone 390.
 */
export async function telemetryBuckets(
  sql: Sql,
  model: Model,
  { userId, deviceIds, key, buckets, range, ends }: BucketQuery,
): Promise<BucketRow[]> {
  const starts = buckets.map(({ start }) => formatMicros(Math.max(start, range.from)));
  const stops = buckets.map(({ end }) => formatMicros(Math.min(end, range.to)));
  const value = numericValue(sql, model, key);
  const inBucket = sql`FROM ${sql(model.table)}
    WHERE user_id = ${userId} AND device_id = device.d AND time >= bucket.start
      AND time < bucket.stop`;
  const end = (order: ReturnType<Sql>) =>
    ends
      ? sql`(SELECT ${value} ${inBucket} AND ${value} IS NOT NULL ORDER BY ${order} LIMIT 1)`
      : sql`NULL::double precision`;
  return await sql<BucketRow[]>`
    SELECT d AS "deviceId", (nth - 1)::int AS bucket, count, sum, min, max,
      ${end(sql`time, sequence_id`)} AS first,
      ${end(sql`time DESC, sequence_id DESC`)} AS last
    FROM unnest(${textArray(deviceIds)}::text[]) AS device (d)
    CROSS JOIN unnest(${textArray(starts)}::timestamptz[], ${textArray(stops)}::timestamptz[])
      WITH ORDINALITY AS bucket (start, stop, nth)
    CROSS JOIN LATERAL (
      SELECT count(v)::int, sum(v), min(v), max(v) FROM (SELECT ${value} AS v ${inBucket}) AS reading
    ) AS statistics
    WHERE count > 0 ORDER BY d, nth`;
}
