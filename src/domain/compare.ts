import { numberOf } from './json.ts';
import type { Operator, Scalar } from './rule.ts';

/** The value as the rule can compare it; null where it can't: missing, another type, not finite. */
export function comparable(value: unknown, threshold: Scalar): Scalar | null {
  if (typeof threshold !== 'number') {
    return typeof value === typeof threshold ? (value as Scalar) : null;
  }
  const number = numberOf(value);
  return number !== null && Number.isFinite(number) ? number : null;
}

export function holds(value: Scalar, operator: Operator, threshold: Scalar): boolean {
  switch (operator) {
    case '>':
      return value > threshold;
    case '<':
      return value < threshold;
    case '>=':
      return value >= threshold;
    case '<=':
      return value <= threshold;
    case '==':
      return value === threshold;
    case '!=':
      return value !== threshold;
  }
}
