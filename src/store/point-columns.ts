import type { Model } from '../domain/model.ts';
import type { GeoPoint } from '../domain/point.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/**
 * The type of each declared point as the server names it: `point`, or PostGIS's
 * `geometry(Point,4326)` where the database had it when the column was made.
 */
export type PointTypes = ReadonlyMap<string, string>;

export const NO_POINTS: PointTypes = new Map();

/** Costs nothing where the model declares no point. */
export async function readPointTypes(sql: Sql, model: Model): Promise<PointTypes> {
  const names = model.columnNames.filter((name) => model.columns[name]?.type === 'point');
  if (names.length === 0) return NO_POINTS;
  const rows = await sql<{ name: string; type: string }[]>`
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
    WHERE attrelid = to_regclass(${model.table}) AND attname = ANY(${textArray(names)}::text[])`;
  if (rows.length < names.length) {
    throw new Error(`table ${model.table} lacks a column of ${names}: was the schema migrated?`);
  }
  return new Map(rows.map(({ name, type }) => [name, type]));
}

/** As the column's type reads it, every digit kept. */
export function pointText({ latitude, longitude }: GeoPoint, type: string | undefined): string {
  return type === 'point'
    ? `(${longitude},${latitude})`
    : `SRID=4326;POINT(${longitude} ${latitude})`;
}

/** A stored point as the server writes it, of either type: `(13.4,52.5)`, or EWKB in hexadecimal. */
export function parsePoint(text: string): GeoPoint {
  if (text.startsWith('(')) {
    const [longitude = Number.NaN, latitude = Number.NaN] = text
      .slice(1, -1)
      .split(',')
      .map(Number);
    return { latitude, longitude };
  }
  const bytes = Buffer.from(text, 'hex');
  // Byte order, type with flags, SRID where the flags say so, x, y; this server's order.
  const little = bytes[0] === 1;
  const flags = little ? bytes.readUInt32LE(1) : bytes.readUInt32BE(1);
  const at = flags & HAS_SRID ? 9 : 5;
  const read = (from: number) => (little ? bytes.readDoubleLE(from) : bytes.readDoubleBE(from));
  return { latitude: read(at + 8), longitude: read(at) };
}

const HAS_SRID = 0x20000000;
