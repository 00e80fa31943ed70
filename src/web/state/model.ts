/** What the page was told of the stream it shows: the model that the server runs. */
export interface Column {
  type: 'double' | 'integer' | 'text' | 'boolean' | 'point';
  min?: number;
  max?: number;
  /** Of text: all that it may be. */
  values?: string[];
}

interface StreamModel {
  columns: Record<string, Column>;
  shorthands: Record<string, { id: string; key: string; operator: '>' | '<' }>;
  topic: string;
  owner: { column: string } | { constant: string };
  device: { column: string };
  /** Null where a device has one reading a time. */
  sequence: { column: string } | null;
}

const meta = document.querySelector('meta[name="stream-model"]')?.getAttribute('content');
const NO_MODEL: StreamModel = {
  columns: {},
  shorthands: {},
  topic: '',
  owner: { column: 'user_id' },
  device: { column: 'device_id' },
  sequence: null,
};
export const model: StreamModel = meta ? JSON.parse(meta) : NO_MODEL;

/** `temperature_max` is `temperatureMax` in GraphQL. */
export function fieldName(column: string): string {
  return column.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

export const columnNames = Object.keys(model.columns);
const POINT_PARTS = ['latitude', 'longitude'];
const isPoint = (name: string) => model.columns[name]?.type === 'point';
/** The declared columns as GraphQL fields of a reading. */
export const readingFields = columnNames
  .map((name) => (isPoint(name) ? `${fieldName(name)} { latitude longitude }` : fieldName(name)))
  .join(' ');
/** Declared columns as rules and charts know them: of a point its two numbers. */
export const declaredKeys = columnNames.flatMap((name) =>
  isPoint(name) ? POINT_PARTS.map((part) => `${name}.${part}`) : [name],
);
export const shorthandFields = Object.keys(model.shorthands).map(fieldName).join(' ');

type Point = Record<string, number> | null | undefined;

type Fields = { extraData: Record<string, unknown> | null; [field: string]: unknown };

/** Every value of a reading by the key that rules and charts know it by: `engine.rpm`. */
export function valuesOf(reading: Fields | null): Map<string, unknown> {
  const values = new Map<string, unknown>();
  if (reading === null) return values;
  for (const name of columnNames) {
    const value = reading[fieldName(name)];
    if (!isPoint(name)) values.set(name, value);
    else for (const part of POINT_PARTS) values.set(`${name}.${part}`, (value as Point)?.[part]);
  }
  collect(values, reading.extraData ?? {}, '');
  return values;
}

const MAX_DEPTH = 4;

function collect(into: Map<string, unknown>, fields: object, prefix: string, depth = 0): void {
  for (const [name, value] of Object.entries(fields)) {
    const isNested = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (isNested && depth < MAX_DEPTH) collect(into, value, `${prefix}${name}.`, depth + 1);
    else into.set(prefix + name, value);
  }
}

/** Keys that a chart can show: declared numbers, and whatever numbers these readings have. */
export function numericKeys(readings: readonly Fields[]): string[] {
  // One that is no column is a number of a point.
  const isNumber = (key: string) => /^(double|integer)$/.test(model.columns[key]?.type ?? 'double');
  const keys = new Set(declaredKeys.filter(isNumber));
  for (const reading of readings) {
    for (const [key, value] of valuesOf(reading)) if (typeof value === 'number') keys.add(key);
  }
  return [...keys];
}
