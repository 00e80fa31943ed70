import type { Bucket } from './buckets.ts';
import type { Micros } from './time.ts';

export type Fill = 'NONE' | 'NULL' | 'PREVIOUS' | 'LINEAR';

/** What a bucket's readings come to. All null where it holds none. */
export interface TelemetryPoint {
  start: Micros;
  /** Exclusive. */
  end: Micros;
  count: number;
  avg: number | null;
  min: number | null;
  max: number | null;
  sum: number | null;
  first: number | null;
  last: number | null;
  /** Whether fill made the point. */
  filled: boolean;
}

const CARRIED = ['avg', 'min', 'max', 'first', 'last'] as const;

/**
 * Puts points in for the buckets without a reading. PREVIOUS repeats the statistics of the bucket
 * before; LINEAR draws each one's line between the neighbours, by the buckets' starts. Neither
 * knows anything outside the range: what has no neighbour there is null. Count is 0 and sum null
 * in every filled point.
 *
 * @param points one for each bucket that holds a reading, in order
 */
export function fillPoints(
  points: readonly TelemetryPoint[],
  buckets: readonly Bucket[],
  fill: Fill,
): TelemetryPoint[] {
  if (fill === 'NONE') return [...points];
  const result: TelemetryPoint[] = [];
  let next = 0;
  for (const bucket of buckets) {
    const present = points[next];
    if (present?.start === bucket.start) {
      result.push(present);
      next++;
    } else {
      result.push(filledPoint(bucket, points[next - 1], present, fill));
    }
  }
  return result;
}

function filledPoint(
  { start, end }: Bucket,
  before: TelemetryPoint | undefined,
  after: TelemetryPoint | undefined,
  fill: Fill,
): TelemetryPoint {
  const point: TelemetryPoint = { start, end, ...EMPTY };
  if (before === undefined || fill === 'NULL') return point;
  if (fill === 'PREVIOUS') {
    for (const name of CARRIED) point[name] = before[name];
  } else if (after !== undefined) {
    const share = (start - before.start) / (after.start - before.start);
    for (const name of CARRIED) point[name] = between(before[name], after[name], share);
  }
  return point;
}

const EMPTY = {
  count: 0,
  avg: null,
  min: null,
  max: null,
  sum: null,
  first: null,
  last: null,
  filled: true,
} as const;

/** Weighted so that two large numbers of opposite sign don't overflow. */
function between(from: number | null, to: number | null, share: number): number | null {
  return from === null || to === null ? null : from * (1 - share) + to * share;
}
