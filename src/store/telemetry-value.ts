import type { PendingQuery, Row } from 'postgres';
import type { Column, Model } from '../domain/model.ts';
import { pointKey } from '../domain/point.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/** The SQL of a key's value as jsonb, null where the reading lacks it; not for a declared column. */
export function extraValue(sql: Sql, model: Model, key: string) {
  const extra = sql(model.extraColumn);
  // A field whose name itself holds the dots wins over the path, as in a rule's key.
  return key.includes('.')
    ? sql`coalesce(${extra} -> ${key}, ${extra} #> ${textArray(key.split('.'))}::text[])`
    : sql`${extra} -> ${key}`;
}

/** The SQL of a key's value as the table has it: a declared column or its part, else jsonb. */
export function storedValue(sql: Sql, model: Model, key: string) {
  if (Object.hasOwn(model.columns, key)) return sql`${sql(key)}`;
  const point = pointKey(model.columns, key);
  if (point === null) return extraValue(sql, model, key);
  // PostGIS has a cast of its points to the server's own; of those it does nothing.
  const stored = sql`(${sql(point.column)}::point)`;
  return point.part === 'longitude' ? sql`${stored}[0]` : sql`${stored}[1]`;
}

/**
 * The SQL of a stored value as a double; null where it is missing or no number, and where no double
 * can hold it, for which the cast would fail the whole query.
 */
export function asDouble(sql: Sql, model: Model, key: string, value: PendingQuery<Row[]>) {
  if (isDeclared(model, key)) return sql`${value}::double precision`;
  return sql`CASE WHEN jsonb_typeof(${value}) = 'number' THEN
    CASE WHEN abs((${value})::numeric) BETWEEN 1e-307 AND 1.7e308
           OR (${value})::numeric = 0
         THEN (${value})::double precision END END`;
}

/** Whether the key is a declared column, or a number of a declared point. */
export function isDeclared(model: Model, key: string): boolean {
  return Object.hasOwn(model.columns, key) || pointKey(model.columns, key) !== null;
}

/** Of few enough that no sum of them overflows. */
const SUMMABLE = 1e290;

/**
 * The SQL of the sum of `value`. Adding two of the largest doubles would fail the whole statement,
 * for which one device would do; their sum is infinite, or no number, instead.
 */
export function sumOf(value: string, column: Column | undefined): string {
  const { min = -Infinity, max = Infinity } = (column as { min?: number; max?: number }) ?? {};
  if (min >= -SUMMABLE && max <= SUMMABLE) return `sum(${value})`;
  return `sum(CASE WHEN abs(${value}) <= ${SUMMABLE} THEN ${value} ELSE ${value} * 'Infinity' END)`;
}
