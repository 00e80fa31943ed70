import {
  type Bucket,
  type BucketRange,
  bucketFault,
  buckets,
  estimateBuckets,
  roundBucket,
} from '../domain/buckets.ts';
import type { Duration } from '../domain/duration.ts';
import { editDistance } from '../domain/edit-distance.ts';
import type { Model } from '../domain/model.ts';
import { POINT_PARTS } from '../domain/point.ts';
import type { Issue } from '../domain/rule.ts';
import { type Fill, fillPoints, type TelemetryPoint } from '../domain/telemetry-fill.ts';
import type { Micros } from '../domain/time.ts';
import type { Zone } from '../domain/zone.ts';
import { devicesByKey } from '../store/devices-by-key.ts';
import { devicesPages } from '../store/devices-page.ts';
import { type BucketRow, telemetryBuckets } from '../store/telemetry-buckets.ts';
import { devicesWithKey } from '../store/telemetry-keys-seen.ts';
import { isDeclared } from '../store/telemetry-value.ts';
import type { Context } from './context.ts';
import { apiError, badArgument, badUserInput } from './errors.ts';

/** One key of one device. */
export interface TelemetrySeries {
  known: boolean;
  deviceId: string;
  key: string;
  bucket: Duration;
  timezone: Zone;
  points: TelemetryPoint[];
}

export interface TelemetryArgs {
  keys: readonly string[];
  from: Micros;
  to: Micros;
  bucket?: Duration | null;
  maxPoints?: number | null;
  fill?: Fill | null;
  timezone?: Zone | null;
}

const DEFAULT_MAX_POINTS = 500;
const MAX_POINTS = 10_000;
const MAX_TOTAL_POINTS = 50_000;
const POINTS_OF_COST = 50;
const MAX_DEVICES = 1_000;
const MAX_KEYS = 20;
const MAX_KEY_LENGTH = 200;
/** Misspellings within so many letters of a declared column are taken for one. */
const TYPO_DISTANCE = 2;

/**
 * Every key of every device, in that order.
 *
 * @param ends whether first and last are wanted
 * @throws BAD_USER_INPUT for arguments that make no sense, TOO_EXPENSIVE for too many points
 */
export async function telemetrySeries(
  context: Context,
  userId: string,
  deviceIds: readonly string[],
  args: TelemetryArgs & { timezone: Zone },
  ends: boolean,
): Promise<TelemetrySeries[]> {
  const { sql, model } = context;
  checkArguments(args, model);
  const keys = [...new Set(args.keys)];
  const range = { from: args.from, to: args.to };
  // The grid is made once, also where it serves no series.
  const seriesCount = Math.max(1, keys.length * deviceIds.length);
  const { bucket, grid } = layOut(range, args, seriesCount);
  const known = await knownKeys(context, userId, deviceIds, keys);
  const isKnown = (deviceId: string, key: string) => {
    const where = known.get(key);
    return where === 'declared' || where?.has(deviceId) === true;
  };
  const present = deviceIds.filter((id) => keys.some((key) => isKnown(id, key)));
  const sought = keys.filter((key) => present.some((id) => isKnown(id, key)));
  const width = bucket.micros > 0 ? bucket.micros : null;
  const rows =
    sought.length === 0
      ? []
      : await telemetryBuckets(sql, model, {
          ...{ userId, deviceIds: present, keys: sought, buckets: grid, width, range, ends },
        });
  const found = Map.groupBy(rows, (row) => `${row.deviceId}/${row.key}`);
  return deviceIds.flatMap((deviceId) =>
    keys.map((key) => {
      const isPresent = isKnown(deviceId, key);
      const points = isPresent ? (found.get(`${deviceId}/${key}`) ?? []) : [];
      return {
        known: isPresent,
        ...{ deviceId, key, bucket, timezone: args.timezone },
        points: fillPoints(
          points.map((row) => pointOf(row, grid)),
          grid,
          args.fill ?? 'NONE',
        ),
      };
    }),
  );
}

/** How many devices' series one call may be asked for, by the points that they will have. */
export function devicesAtOnce(args: TelemetryArgs): number {
  return Math.max(1, Math.floor(MAX_TOTAL_POINTS / pointsOfDevice(args)));
}

/** The cost of a call: what is asked of its points counts for each fifty that there may be. */
export function telemetryComplexity(
  args: TelemetryArgs,
  devices: number = MAX_DEVICES,
): { field: number; multiplier: number } {
  // More points than that are refused, with what to do about it.
  const points = Math.min(MAX_TOTAL_POINTS, pointsOfDevice(args) * devices);
  return { field: 20, multiplier: Math.max(1, Math.ceil(points / POINTS_OF_COST)) };
}

/** At the most. */
function pointsOfDevice({ keys, from, to, bucket, maxPoints }: TelemetryArgs): number {
  const each =
    bucket == null ? (maxPoints ?? DEFAULT_MAX_POINTS) : estimateBuckets({ from, to }, bucket);
  return Math.max(1, each * keys.length);
}

function pointOf(row: BucketRow, grid: readonly Bucket[]): TelemetryPoint {
  const { start, end } = grid[row.bucket] as Bucket;
  const { count, sum, min, max, first, last } = row;
  // No double holds the sum of some of the largest.
  if (!Number.isFinite(sum)) {
    return { start, end, count, avg: null, min, max, sum: null, first, last, filled: false };
  }
  // Rounding must not put the mean outside of what it is the mean of.
  const avg = Math.min(max, Math.max(min, sum / count));
  return { start, end, count, avg, min, max, sum, first, last, filled: false };
}

function checkArguments({ keys, from, to, maxPoints }: TelemetryArgs, model: Model): void {
  const issues: Issue[] = [];
  const issue = (path: string, message: string) => issues.push({ path, message });
  if (to <= from) issue('to', 'has to be later than from');
  if (keys.length === 0) issue('keys', 'name at least one key');
  if (keys.length > MAX_KEYS) issue('keys', `at most ${MAX_KEYS} keys at once`);
  for (const [index, key] of keys.entries()) {
    const type = Object.hasOwn(model.columns, key) ? model.columns[key]?.type : undefined;
    if (type === 'text' || type === 'boolean') {
      issue(`keys.${index}`, `"${key}" is ${type}; telemetry takes numbers`);
    }
    if (type === 'point') {
      const parts = POINT_PARTS.map((part) => `${key}.${part}`).join(' and ');
      issue(`keys.${index}`, `"${key}" is a point; its numbers are ${parts}`);
    }
    if (key === '' || key.length > MAX_KEY_LENGTH || key.includes('\0')) {
      issue(`keys.${index}`, `a key has 1 to ${MAX_KEY_LENGTH} characters, none of them NUL`);
    }
  }
  if (maxPoints != null && (maxPoints < 1 || maxPoints > MAX_POINTS)) {
    issue('maxPoints', `is from 1 to ${MAX_POINTS}`);
  }
  if (issues.length > 0) throw badUserInput(issues);
}

/** Chooses the bucket and lays out the grid; nothing large is made before its size is known. */
function layOut(
  range: BucketRange,
  { bucket: asked, maxPoints, timezone }: TelemetryArgs & { timezone: Zone },
  seriesCount: number,
): { bucket: Duration; grid: Bucket[] } {
  const fault = asked == null ? null : bucketFault(asked);
  if (fault !== null) throw badArgument('bucket', fault);
  const most = maxPoints ?? DEFAULT_MAX_POINTS;
  const estimate = asked == null ? most : estimateBuckets(range, asked);
  if (estimate * seriesCount > MAX_TOTAL_POINTS) {
    throw apiError(
      'TOO_EXPENSIVE',
      `${seriesCount} series of up to ${estimate} points are more than the ${MAX_TOTAL_POINTS} ` +
        'points one request may take; ask for a larger bucket, a smaller maxPoints, fewer ' +
        'devices or keys, or a shorter range',
    );
  }
  const bucket = asked ?? roundBucket(range, most, timezone);
  return { bucket, grid: buckets(range, bucket, timezone) };
}

/**
 * For each key whether it is declared, or else which devices have sent it.
 *
 * @throws BAD_USER_INPUT for a key that nobody sent and that is nearly a declared one
 */
async function knownKeys(
  { sql, model }: Context,
  userId: string,
  deviceIds: readonly string[],
  keys: readonly string[],
): Promise<Map<string, 'declared' | Set<string>>> {
  const known = new Map<string, 'declared' | Set<string>>();
  for (const [index, key] of keys.entries()) {
    if (isDeclared(model, key)) {
      known.set(key, 'declared');
      continue;
    }
    const devices = await devicesWithKey(sql, model, { userId, deviceIds, key });
    known.set(key, devices);
    if (devices.size > 0 || key.includes('.')) continue;
    const meant = model.columnNames.find((name) => editDistance(name, key) <= TYPO_DISTANCE);
    if (meant !== undefined) {
      throw badArgument(`keys.${index}`, `there is no "${key}"; did you mean ${meant}?`);
    }
  }
  return known;
}

/** Those of the named devices that exist, else all of the user's. */
export async function chosenDevices(
  { sql }: Context,
  userId: string,
  named: readonly string[] | null,
): Promise<string[]> {
  if (named === null) {
    const page = { after: null, search: null, limit: MAX_DEVICES + 1 };
    const devices = await devicesPages(sql, [userId], page);
    if (devices.length <= MAX_DEVICES) return devices.map(({ deviceId }) => deviceId);
    throw apiError('TOO_EXPENSIVE', `more than ${MAX_DEVICES} devices; name some in deviceIds`);
  }
  if (named.length > MAX_DEVICES) {
    throw apiError('TOO_EXPENSIVE', `deviceIds: at most ${MAX_DEVICES} devices at once`);
  }
  const wanted = [...new Set(named)];
  const rows = await devicesByKey(
    sql,
    wanted.map((deviceId) => ({ userId, deviceId })),
  );
  const existing = new Set(rows.map(({ deviceId }) => deviceId));
  return wanted.filter((deviceId) => existing.has(deviceId));
}
