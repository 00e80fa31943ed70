import { numberOf } from './json.ts';
import type { Operator, Scalar } from './rule.ts';

/** Text is remembered, and told in alerts, up to here: longer than that no threshold is. */
const MAX_TEXT_LENGTH = 1_000;

/** The value as the rule can compare it; null where it can't: missing, another type, not finite. */
export function comparable(value: unknown, threshold: Scalar): Scalar | null {
  if (typeof threshold !== 'number') {
    if (typeof value !== typeof threshold) return null;
    return typeof value === 'string' ? shortened(value) : (value as Scalar);
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

/** Still no threshold's equal. A character that would be cut in two is replaced. */
function shortened(text: string): string {
  if (text.length <= MAX_TEXT_LENGTH) return text;
  return `${text.slice(0, MAX_TEXT_LENGTH).toWellFormed()}…`;
}
