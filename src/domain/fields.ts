import { numberOf } from './json.ts';

/** Readers of single fields of untrusted input: each gives a value of its type, or reports. */

/** Takes a fault. `path` is dotted: `rules.2.operator`. */
export type Report = (path: string, message: string) => void;

export function oneOf<T extends string>(
  value: unknown,
  allowed: readonly T[],
  path: string,
  report: Report,
): T | null {
  if (allowed.includes(value as T)) return value as T;
  report(path, `must be one of ${allowed.join(' ')}, ${not(value)}`);
  return null;
}

/** A finite number; reports and gives 0 where it is none. */
export function finiteNumber(value: unknown, path: string, report: Report, or = ''): number {
  const number = numberOf(value);
  // Adding 0 turns -0 into 0, which JSON can't tell apart.
  if (number !== null && Number.isFinite(number)) return number + 0;
  report(path, `must be a finite number${or}, ${not(value)}`);
  return 0;
}

/** Text that Postgres can store; reports and gives '' where it is none. */
export function text(
  value: unknown,
  path: string,
  maxLength: number,
  report: Report,
  mayBeEmpty = false,
): string {
  if (typeof value !== 'string' || (value === '' && !mayBeEmpty)) {
    report(path, value === undefined ? 'is missing' : `must be text, ${not(value)}`);
    return '';
  }
  if (value.length > maxLength) {
    report(path, `is ${value.length} characters long; at most ${maxLength} are allowed`);
    return '';
  }
  if (value.includes('\0') || !value.isWellFormed()) {
    report(path, 'holds a NUL or half of a surrogate pair, which Postgres cannot store');
  }
  return value;
}

export function not(value: unknown): string {
  return `not ${kindOf(value)}`;
}

/** A value as a message names it: short, and safe to print. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (value === '') return 'empty text';
  const number = numberOf(value);
  if (number !== null) return `the number ${number}`;
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 32));
  if (typeof value === 'boolean') return String(value);
  return Array.isArray(value) ? 'a list' : 'an object';
}

/** Reports each field that is not among the known ones. */
export function reportUnknown(
  input: Record<string, unknown>,
  known: readonly string[],
  path: string,
  report: Report,
): void {
  for (const name of Object.keys(input)) {
    if (known.includes(name)) continue;
    const shown = name.length > 64 ? `${name.slice(0, 64)}…` : name;
    const at = path === '' ? shown : `${path}.${shown}`;
    report(at, `is not a field here; known are ${known.join(', ')}`);
  }
}
