import { isJsonObject, type JsonValue, numberOf } from './json.ts';
import type { Columns } from './model.ts';

/** A place on the earth, in degrees of WGS 84. */
export type GeoPoint = { latitude: number; longitude: number };

export const POINT_PARTS = ['latitude', 'longitude'] as const;
export type PointPart = (typeof POINT_PARTS)[number];

/** One number of a point: what the key `location.latitude` names where `location` is a point. */
export interface PointKey {
  column: string;
  part: PointPart;
}

/** Null where the key is no part of a declared point. */
export function pointKey(columns: Columns, key: string): PointKey | null {
  const [column = '', part = '', ...more] = key.split('.');
  if (more.length > 0 || !isPointPart(part)) return null;
  if (!Object.hasOwn(columns, column) || columns[column]?.type !== 'point') return null;
  return { column, part };
}

export function isPointPart(name: string | undefined): name is PointPart {
  return name === 'latitude' || name === 'longitude';
}

type ReadPoint =
  | { ok: true; point: GeoPoint }
  | { ok: false; reason: 'WRONG_TYPE' | 'OUT_OF_RANGE'; detail: string };

const FORMS =
  'a point: {"latitude", "longitude"}, {"lat", "lon"} or ' +
  '{"type": "Point", "coordinates": [longitude, latitude]}, and nothing else in it';

/** A point in any of the forms that it may be sent in. What else it holds would be lost: refused. */
export function readPoint(value: JsonValue): ReadPoint {
  const found = isJsonObject(value) ? partsOf(value) : null;
  const latitude = numberOf(found?.latitude);
  const longitude = numberOf(found?.longitude);
  if (latitude === null || longitude === null) {
    return { ok: false, reason: 'WRONG_TYPE', detail: `is not ${FORMS}` };
  }
  if (!(Math.abs(latitude) <= 90)) {
    const detail = `has a latitude of ${latitude}, which is not from -90 to 90`;
    return { ok: false, reason: 'OUT_OF_RANGE', detail };
  }
  if (!(Math.abs(longitude) <= 180)) {
    const detail = `has a longitude of ${longitude}, which is not from -180 to 180`;
    return { ok: false, reason: 'OUT_OF_RANGE', detail };
  }
  // Adding 0 turns -0 into 0, which JSON can't tell apart.
  return { ok: true, point: { latitude: latitude + 0, longitude: longitude + 0 } };
}

function partsOf(
  value: Record<string, JsonValue>,
): { latitude: unknown; longitude: unknown } | null {
  const names = Object.keys(value);
  if (names.length !== 2) return null;
  const has = (name: string) => Object.hasOwn(value, name);
  if (has('latitude') && has('longitude')) {
    return { latitude: value.latitude, longitude: value.longitude };
  }
  if (has('lat') && has('lon')) return { latitude: value.lat, longitude: value.lon };
  const { type, coordinates } = value;
  if (type !== 'Point' || !Array.isArray(coordinates) || coordinates.length !== 2) return null;
  return { latitude: coordinates[1], longitude: coordinates[0] };
}
