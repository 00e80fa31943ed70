/** What the page was told of the stream it shows: src/model.ts, as the server runs it. */
export interface Column {
  type: 'double' | 'integer' | 'text' | 'boolean' | 'point';
  min?: number;
  max?: number;
  /** Of text that is one of a few. */
  values?: string[];
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
const isPoint = (name: string) => model.columns[name]?.type === 'point';
/** What rules and charts call the declared columns: of a point its two numbers. */
export const columnKeys = columnNames.flatMap((name) =>
  isPoint(name) ? [`${name}.latitude`, `${name}.longitude`] : [name],
);
/** The declared columns as GraphQL fields of a reading. */
export const readingFields = columnNames
  .map((name) => fieldName(name) + (isPoint(name) ? ' { latitude longitude }' : ''))
  .join(' ');
export const shorthandFields = Object.keys(model.shorthands).map(fieldName).join(' ');

type Fields = { extraData: Record<string, unknown> | null; [field: string]: unknown };

/** Every value of a reading by the key that rules and charts know it by: `engine.rpm`. */
export function valuesOf(reading: Fields | null): Map<string, unknown> {
  const values = new Map<string, unknown>();
  if (reading === null) return values;
  for (const key of columnKeys) values.set(key, declaredValue(reading, key));
  collect(values, reading.extraData ?? {}, '');
  return values;
}

function declaredValue(reading: Fields, key: string): unknown {
  const [name = '', part] = key.split('.');
  const value = reading[fieldName(name)];
  return part === undefined ? value : (value as Record<string, unknown> | null)?.[part];
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
  const isNumber = (key: string) =>
    /^(double|integer|point)$/.test(model.columns[key.split('.')[0] ?? '']?.type ?? '');
  const keys = new Set(columnKeys.filter(isNumber));
  for (const reading of readings) {
    for (const [key, value] of valuesOf(reading)) if (typeof value === 'number') keys.add(key);
  }
  return [...keys];
}
