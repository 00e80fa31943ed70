import type { Model } from './model.ts';
import type { Micros } from './time.ts';

/**
 * The step of the rollups: the longest that the calendar days of every zone in use are made of, as
 * some are 30 or 45 minutes off the hour.
 */
export const ROLLUP_MICROS = 900_000_000;

/** The start of the step that a moment falls in. */
export function rollupStart(time: Micros): Micros {
  return Math.floor(time / ROLLUP_MICROS) * ROLLUP_MICROS;
}

/** The declared columns that are rolled up: those that hold numbers. */
export function rolledColumns({ columns }: Pick<Model, 'columns'>): string[] {
  return Object.entries(columns)
    .filter(([, { type }]) => type === 'double' || type === 'integer')
    .map(([name]) => name);
}
