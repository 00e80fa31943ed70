/** The faults of a model's declared columns, and of names as such. */
import { not, oneOf, type Report, reportUnknown, text } from './fields.ts';
import { fieldName, GENERIC, READING_FIELDS, RESERVED_WORDS } from './model-names.ts';

export type Fields = Record<string, unknown>;

/** The columns of the key beside time. */
export interface Names {
  /** Null where all readings are of one owner. */
  owner: string | null;
  device: string;
  sequence: string | null;
}

const COLUMN_FIELDS = {
  double: ['type', 'nullable', 'min', 'max'],
  integer: ['type', 'nullable', 'min', 'max'],
  text: ['type', 'nullable', 'maxLength', 'values'],
  boolean: ['type', 'nullable'],
  point: ['type', 'nullable'],
} as const;
type ColumnType = keyof typeof COLUMN_FIELDS;
const TYPES = Object.keys(COLUMN_FIELDS) as ColumnType[];

const IDENTIFIER = /^[a-z][a-z0-9_]*$/;
/** With what is added to it, `_device_time` or the month of a partition, Postgres takes 63. */
const MAX_NAME_LENGTH = 48;
const MAX_COLUMNS = 200;
const MAX_TEXT_LENGTH = 65_536;
/** They are told in error messages. */
const MAX_VALUES = 100;
export const INT32 = { min: -(2 ** 31), max: 2 ** 31 - 1 };

export function columnFaults(definition: Fields, names: Names, report: Report): void {
  const { columns, extraColumn } = definition;
  const keys = Object.values(names).filter((name): name is string => name !== null);
  const taken = new Set([...GENERIC, ...keys]);
  if (identifier(extraColumn, 'extraColumn', report)) {
    if (taken.has(extraColumn))
      report('extraColumn', `"${extraColumn}" is taken; choose another name`);
    taken.add(extraColumn);
  }
  if (!isFields(columns)) {
    const example = "{ price: { type: 'double', nullable: false } }";
    report('columns', `must be an object such as ${example}, ${not(columns)}`);
    return;
  }
  const entries = Object.entries(columns);
  if (entries.length === 0) report('columns', 'is empty: declare a value that is measured');
  if (entries.length > MAX_COLUMNS) {
    report('columns', `holds ${entries.length} columns; at most ${MAX_COLUMNS} are allowed`);
  }
  const fields = new Set([...READING_FIELDS, ...keys.map(fieldName)]);
  for (const [name, column] of entries) {
    const path = `columns.${name}`;
    if (!identifier(name, path, report)) continue;
    const field = fieldName(name);
    if (taken.has(name)) report(path, `"${name}" is taken; choose another name`);
    else if (fields.has(field))
      report(path, `"${field}", its name in GraphQL, is taken; choose another`);
    fields.add(field);
    checkColumn(column, path, report);
  }
}

function checkColumn(column: unknown, path: string, report: Report): void {
  if (!isFields(column)) {
    report(path, `must be an object such as { type: 'double', nullable: true }, ${not(column)}`);
    return;
  }
  const type = oneOf(column.type, TYPES, `${path}.type`, report);
  if (type === null) return;
  reportUnknown(column, COLUMN_FIELDS[type], path, report);
  if (typeof column.nullable !== 'boolean') {
    report(`${path}.nullable`, `must be true or false, ${not(column.nullable)}`);
  }
  if (type === 'text') {
    checkLength(column.maxLength, `${path}.maxLength`, report);
    checkValues(column, `${path}.values`, report);
  }
  if (type === 'double' || type === 'integer') checkBounds(column, path, report);
}

function checkLength(length: unknown, path: string, report: Report): void {
  if (isWithin(length, { min: 1, max: MAX_TEXT_LENGTH })) return;
  report(path, `must be a whole number from 1 to ${MAX_TEXT_LENGTH}, ${not(length)}`);
}

function checkValues({ values, maxLength }: Fields, path: string, report: Report): void {
  if (values === undefined) return;
  if (!Array.isArray(values) || values.length === 0 || values.length > MAX_VALUES) {
    report(path, `must be a list of 1 to ${MAX_VALUES} texts, or left out, ${not(values)}`);
    return;
  }
  const longest = isWithin(maxLength, { min: 1, max: MAX_TEXT_LENGTH }) ? Number(maxLength) : 0;
  const seen = new Set<string>();
  for (const [index, given] of values.entries()) {
    const value = text(given, `${path}.${index}`, longest || MAX_TEXT_LENGTH, report);
    if (value !== '' && seen.has(value)) report(`${path}.${index}`, `"${value}" is there twice`);
    seen.add(value);
  }
}

function checkBounds({ type, min, max }: Fields, path: string, report: Report): void {
  for (const [end, value] of [
    ['min', min],
    ['max', max],
  ] as const) {
    if (value === undefined) continue;
    const isFit = type === 'integer' ? isWithin(value, INT32) : Number.isFinite(value);
    const wanted = type === 'integer' ? 'a whole number of 32 bits' : 'a finite number';
    if (!isFit) report(`${path}.${end}`, `must be ${wanted}, or left out, ${not(value)}`);
  }
  if (typeof min === 'number' && typeof max === 'number' && min > max) {
    report(`${path}.min`, `is ${min}, above the max of ${max}`);
  }
}

function isWithin(value: unknown, { min, max }: { min: number; max: number }): boolean {
  return Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
}

/** Whether it can be a name in SQL without quotes. */
export function identifier(name: unknown, path: string, report: Report): name is string {
  const given = text(name, path, MAX_NAME_LENGTH, report);
  if (given === '') return false;
  if (!IDENTIFIER.test(given)) {
    report(path, `"${given}" is not a lower-case SQL identifier, such as price_eur`);
  } else if (RESERVED_WORDS.has(given)) {
    report(path, `"${given}" is a reserved word of SQL; choose another name`);
  } else return true;
  return false;
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
