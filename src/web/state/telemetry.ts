import type { ChartData } from '../components/chart.tsx';
import type { Shade } from '../components/chart-marks.ts';
import { request } from './api.ts';
import { EPISODES, TELEMETRY } from './documents.ts';
import { isoSeconds } from './format.ts';
import { zone } from './preferences.ts';
import type { Episode, Page, Series, Severity } from './types.ts';

/** Epoch seconds. */
export interface Range {
  from: number;
  to: number;
}

export interface DeviceName {
  userId: string;
  deviceId: string;
}

export interface Chartable {
  key: string;
  /** ISO 8601; empty where there is no point. */
  bucket: string;
  data: ChartData;
}

const isoOf = (seconds: number) => new Date(seconds * 1_000).toISOString();
const secondsOf = (time: string) => Date.parse(time) / 1_000;
const MAX_KEYS = 20;
/** A pause of so many usual intervals is a gap. */
const GAP_INTERVALS = 4;

/** A chart of each key that is known, in buckets that fit `maxPoints`. */
export async function loadSeries(
  { userId, deviceId }: DeviceName,
  keys: readonly string[],
  { from, to }: Range,
  maxPoints: number,
): Promise<Chartable[]> {
  type Answer = { user: { device: { telemetry: Series[] } | null } | null };
  const answer = await request<Answer>(TELEMETRY, {
    ...{ userId, deviceId, maxPoints },
    keys: keys.slice(0, MAX_KEYS),
    from: isoOf(from),
    to: isoOf(to),
    timezone: zone.peek(),
  });
  const series = answer.user?.device?.telemetry ?? [];
  return series.map((one) => ({ key: one.key, bucket: one.bucket, data: chartOf(one) }));
}

function chartOf({ bucket, points }: Series): ChartData {
  const times = points.map(({ start, end }) => (secondsOf(start) + secondsOf(end)) / 2);
  const columns = (['avg', 'min', 'max'] as const).map((name) =>
    points.map((point) => point[name]),
  );
  return withGaps([times, ...columns], isoSeconds(bucket));
}

/** Nulls where nothing came for much longer than usual, so that no line bridges it. */
export function withGaps([times, ...columns]: ChartData, bucketSeconds: number): ChartData {
  const steps = times.slice(1).map((time, at) => time - (times[at] as number));
  const median = [...steps].sort((a, b) => a - b)[Math.floor(steps.length / 2)] ?? 0;
  const limit = Math.max(median * GAP_INTERVALS, bucketSeconds * 1.5);
  const gapped: ChartData = [[], ...columns.map(() => [])];
  for (const [at, time] of times.entries()) {
    const step = steps[at - 1] ?? 0;
    if (step > limit) {
      gapped[0].push(time - step / 2);
      for (const column of gapped.slice(1)) column.push(null as never);
    }
    gapped[0].push(time);
    for (const [index, column] of columns.entries()) gapped[index + 1]?.push(column[at] as never);
  }
  return gapped;
}

/** With a reading that has just come, without what is now before `from`. */
export function withPoint(
  [times, ...columns]: ChartData,
  time: number,
  value: number,
  from: number,
): ChartData {
  const last = times.at(-1) ?? Number.NEGATIVE_INFINITY;
  if (time <= last) return [times, ...columns];
  const start = Math.max(0, times.findIndex((each) => each >= from) - 1);
  return [
    [...times.slice(start), time],
    ...columns.map((column) => [...column.slice(start), value]),
  ];
}

export type KeyedShade = Shade & { key: string | null; message: string };
type Shown = Episode & { id: string; key: string | null; severity: Severity };

/** The alerts of a device that touch a range, as stretches to be shaded. */
export async function loadShades(device: DeviceName, { from, to }: Range): Promise<KeyedShade[]> {
  const { userId, deviceId } = device;
  // One that began before the range may reach into it.
  const variables = { userId, deviceId, from: isoOf(from - (to - from)), to: isoOf(to) };
  type Answer = { user: { inRange: Page<Shown>; open: Page<Shown> } | null };
  const { user } = await request<Answer>(EPISODES, variables);
  const all = [...(user?.inRange.nodes ?? []), ...(user?.open.nodes ?? [])];
  const distinct = new Map(all.map((episode) => [episode.id, episode]));
  return [...distinct.values()].map(({ startedAt, resolvedAt, severity, key, message }) => ({
    ...{ severity, key, message },
    from: secondsOf(startedAt),
    to: resolvedAt === null ? null : secondsOf(resolvedAt),
  }));
}
