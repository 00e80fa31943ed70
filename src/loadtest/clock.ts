import { MICROS_PER_MS, type Micros } from '../domain/time.ts';

/** Wall clock in microseconds; within the process it never steps back. */
export function nowMicros(): Micros {
  return Math.round((performance.timeOrigin + performance.now()) * MICROS_PER_MS);
}
