/** Time buckets. Those below a day are aligned to the epoch, others to the calendar of a zone. */
import { type Duration, parseDuration } from './duration.ts';
import type { Micros } from './time.ts';
import type { Zone } from './zone.ts';

export interface Bucket {
  start: Micros;
  /** Exclusive. */
  end: Micros;
}

export interface BucketRange {
  from: Micros;
  /** Exclusive. */
  to: Micros;
}

const DAY_MICROS = 86_400_000_000;
const MONTH_MICROS = 30.44 * DAY_MICROS;
/** 1970-01-05, the first Monday: weeks begin on Monday, as in ISO 8601. */
const FIRST_MONDAY = 4;

/** What `maxPoints` chooses from, in growing order. */
const ROUND_BUCKETS: readonly Duration[] = [
  ...['1s', '5s', '10s', '30s', '1m', '5m', '10m', '15m', '30m'],
  ...['1h', '2h', '3h', '6h', '12h', '1d', '1w', '1mo', '3mo', '1y', '10y', '100y'],
].map((text) => parseDuration(text) as Duration);

/** Why a duration can't be a bucket, as a sentence; null where it can. */
export function bucketFault({ months, days, micros }: Duration): string | null {
  const units = [months, days, micros].filter((amount) => amount > 0).length;
  if (units === 0) return 'a bucket is longer than nothing: write 1m, 1h or 1d';
  if (units > 1)
    return 'a bucket is either months, or days, or hours and less: write 36h for P1DT12H';
  return null;
}

/** About how many buckets a range holds: at most one off for each of its two ends. */
export function estimateBuckets({ from, to }: BucketRange, bucket: Duration): number {
  const length = bucket.micros + bucket.days * DAY_MICROS + bucket.months * MONTH_MICROS;
  return Math.ceil((to - from) / length);
}

/** The smallest round bucket that gives at most `maxPoints` points for a range. */
export function roundBucket(range: BucketRange, maxPoints: number, zone: Zone): Duration {
  for (const bucket of ROUND_BUCKETS) {
    if (estimateBuckets(range, bucket) > maxPoints) continue;
    if (buckets(range, bucket, zone).length <= maxPoints) return bucket;
  }
  return ROUND_BUCKETS.at(-1) as Duration;
}

/** Every bucket that holds a moment of the range, in order; the outer ones may reach beyond it. */
export function buckets(range: BucketRange, bucket: Duration, zone: Zone): Bucket[] {
  const { from, to } = range;
  if (to <= from) return [];
  const { first, startOf } = starts(from, bucket, zone);
  const result: Bucket[] = [];
  for (let index = first, start = startOf(first); start < to; index++) {
    const end = startOf(index + 1);
    if (end > from && end > start) result.push({ start, end });
    start = end;
  }
  return result;
}

/** Numbers the buckets from one that begins at or before `from`. */
function starts(
  from: Micros,
  { months, days, micros }: Duration,
  zone: Zone,
): { first: number; startOf: (index: number) => Micros } {
  if (micros > 0) {
    return { first: Math.floor(from / micros), startOf: (index) => index * micros };
  }
  const day = zone.dayOf(from);
  if (days > 0) {
    const origin = days % 7 === 0 ? FIRST_MONDAY : 0;
    return {
      first: Math.floor((day - origin) / days),
      startOf: (index) => zone.startOfDay(origin + index * days),
    };
  }
  const date = new Date(day * 86_400_000);
  const month = (date.getUTCFullYear() - 1970) * 12 + date.getUTCMonth();
  return {
    first: Math.floor(month / months),
    startOf: (index) => zone.startOfDay(Date.UTC(1970, index * months, 1) / 86_400_000),
  };
}
