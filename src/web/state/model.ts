/** What the page was told of the stream it shows: src/model.ts, as the server runs it. */
export interface Column {
  type: 'double' | 'integer' | 'text' | 'boolean';
  min?: number;
  max?: number;
}

interface StreamModel {
  columns: Record<string, Column>;
  shorthands: Record<string, { id: string; key: string; operator: '>' | '<' }>;
  topic: string;
}

const meta = document.querySelector('meta[name="stream-model"]')?.getAttribute('content');
export const model = JSON.parse(meta || '{"columns":{},"shorthands":{},"topic":""}') as StreamModel;

/** `temperature_max` is `temperatureMax` in GraphQL. */
export function fieldName(column: string): string {
  return column.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

export const columnNames = Object.keys(model.columns);
/** The declared columns as GraphQL fields of a reading. */
export const readingFields = columnNames.map(fieldName).join(' ');
export const shorthandFields = Object.keys(model.shorthands).map(fieldName).join(' ');

type Fields = { extraData: Record<string, unknown> | null; [field: string]: unknown };

/** Every value of a reading by the key that rules and charts know it by: `engine.rpm`. */
export function valuesOf(reading: Fields | null): Map<string, unknown> {
  const values = new Map<string, unknown>();
  if (reading === null) return values;
  for (const name of columnNames) values.set(name, reading[fieldName(name)]);
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
  const isNumber = (name: string) => /^(double|integer)$/.test(model.columns[name]?.type ?? '');
  const keys = new Set(columnNames.filter(isNumber));
  for (const reading of readings) {
    for (const [key, value] of valuesOf(reading)) if (typeof value === 'number') keys.add(key);
  }
  return [...keys];
}
