import type { JsonObject, JsonValue } from './json.ts';
import type { Columns, ColumnValues } from './model.ts';
import { isPointPart } from './point.ts';
import type { Micros } from './time.ts';

/** One accepted measurement of one device. Its key is (time, userId, deviceId, sequenceId). */
export interface Reading<C extends Columns = Columns> {
  time: Micros;
  userId: string;
  deviceId: string;
  /** An integer from 0 to 2^53 - 1; always 0 where the model has no sequence. */
  sequenceId: number;
  columns: ColumnValues<C>;
  /** Fields the model doesn't declare; null when there are none. */
  extra: JsonObject | null;
}

/**
 * The value under a rule key: a declared column, a number of a declared point, else a dotted path
 * into the other fields. A field whose name itself holds the dots wins over the path. Undefined when
 * there is none.
 *
 * @param path the key's names, where they are known already
 */
export function valueAt(
  reading: Reading,
  key: string,
  path: readonly string[] = key.split('.'),
): JsonValue | undefined {
  if (Object.hasOwn(reading.columns, key)) return reading.columns[key];
  if (path.length === 2 && isPointPart(path[1]) && Object.hasOwn(reading.columns, path[0] ?? '')) {
    const point = reading.columns[path[0] ?? ''];
    return typeof point === 'object' && point !== null ? point[path[1]] : undefined;
  }
  if (reading.extra === null) return undefined;
  if (Object.hasOwn(reading.extra, key)) return reading.extra[key];
  if (path.length === 1) return undefined;
  let value: JsonValue | undefined = reading.extra;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name))
      return undefined;
    value = (value as JsonObject)[name];
  }
  return value;
}

/** A device's readings have an order: by time, then by sequence id. */
type Place = Pick<Reading, 'time' | 'sequenceId'>;

export function isAfter(a: Place, b: Place): boolean {
  return a.time === b.time ? a.sequenceId > b.sequenceId : a.time > b.time;
}

/** Why a record became a dead letter: stable codes, as `deadLetters(reason:)` takes them. */
export const REJECT_REASONS = [
  'BAD_TOPIC',
  'BAD_JSON',
  'BAD_ENCODING',
  'TOO_LARGE',
  'MISSING_FIELD',
  'WRONG_TYPE',
  'OUT_OF_RANGE',
  'DEVICE_MISMATCH',
  'TIME_OUT_OF_RANGE',
  'UNSTORABLE_TEXT',
  'REFUSED_BY_DATABASE',
] as const;
export type RejectReason = (typeof REJECT_REASONS)[number];

export interface Rejection {
  reason: RejectReason;
  /** One sentence: what was wrong, where, and what is accepted. */
  detail: string;
}
