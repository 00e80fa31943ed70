import type { Column, Model } from '../domain/model.ts';
import type { Scalar, ThresholdRule } from '../domain/rule.ts';
import type { Filler } from './fleet.ts';
import { integerBetween } from './random.ts';
import { type Signal, tidy } from './signals.ts';

/**
 * What devices of any model measure, and the rules on it: for each column the first of the model's
 * own rules that can be used, else one made up. Columns that can have none are fillers.
 */
export function signalsOf({ columns, defaults }: Pick<Model, 'columns' | 'defaults'>): Signal[] {
  const rules = (defaults.rules ?? []).filter((rule) => 'key' in rule);
  return Object.entries(columns).flatMap(([key, column]) => {
    const own = rules.filter((rule) => rule.key === key);
    const required = !column.nullable;
    const signals = [...own, null].map((rule) => signalOf(key, column, rule));
    const signal = signals.find((found) => found !== null);
    return signal ? [{ ...signal, required }] : [];
  });
}

type OwnRule = Pick<ThresholdRule, 'operator' | 'threshold'>;

function signalOf(key: string, column: Column, rule: OwnRule | null): Signal | null {
  switch (column.type) {
    case 'boolean':
      return choices(key, [false, true], rule ?? { operator: '==', threshold: true });
    case 'text': {
      const values = column.values ?? [];
      const made: OwnRule = { operator: '==', threshold: values.at(-1) ?? '' };
      return choices(key, values, rule ?? made);
    }
    case 'double':
    case 'integer':
      return number(key, column, rule);
    default:
      return null;
  }
}

/** Null where nothing breaches the rule, or everything does. */
function choices<T extends string | boolean>(
  key: string,
  values: readonly T[],
  { operator, threshold }: OwnRule,
): Signal | null {
  const holds = (value: T) => (value === threshold) === (operator === '==');
  const signal = {
    key,
    operator,
    threshold,
    ruleId: null,
    choices: values.filter((value) => !holds(value)),
    breaches: values.filter(holds),
  };
  const isUsable = operator === '==' || operator === '!=';
  return isUsable && signal.choices.length > 0 && signal.breaches.length > 0 ? signal : null;
}

/** Steps over a column's range, about: few enough that values near the threshold come up. */
const STEPS = 1_000;
const SMALLEST_STEP = 1e-6;
/** Values above the made-up rule's threshold, of the whole range. */
const ABOVE = 0.2;

type NumberColumn = Extract<Column, { type: 'double' | 'integer' }>;

/** Null where the rule is none of order, or leaves no room on one of its sides. */
function number(key: string, column: NumberColumn, rule: OwnRule | null): Signal | null {
  const [low, high] = rangeOf(column, rule);
  const step = stepOf(column, high - low, rule?.threshold ?? 0);
  const onGrid = (value: number) => tidy(value * step, step);
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step);
  const madeUp = {
    operator: '>' as const,
    threshold: onGrid(last - Math.ceil((last - first) * ABOVE)),
  };
  const { operator, threshold } = rule ?? madeUp;
  if (typeof threshold !== 'number' || operator === '==' || operator === '!=') return null;
  const at = Math.round(threshold / step);
  if (onGrid(at) !== threshold) return null;
  const isUp = operator === '>' || operator === '>=';
  const away = isUp ? 1 : -1;
  const holdsAtIt = operator === '>=' || operator === '<=';
  const calm = holdsAtIt ? at - away : at;
  const breach = holdsAtIt ? at : at + away;
  if (Math.min(calm, breach) < first || Math.max(calm, breach) > last) return null;
  const [far, farthest] = isUp ? [first, last] : [last, first];
  return {
    key,
    operator,
    threshold,
    ruleId: null,
    calm: [onGrid(far), onGrid(calm)],
    breach: [onGrid(breach), onGrid(farthest)],
    step,
  };
}

/** A power of ten, small enough that the threshold is a whole number of steps if any is. */
function stepOf(column: NumberColumn, span: number, threshold: Scalar): number {
  const smallest = column.type === 'integer' ? 1 : SMALLEST_STEP;
  let power = Math.floor(Math.log10(span / STEPS));
  const isWhole = (step: number) =>
    typeof threshold !== 'number' || tidy(Math.round(threshold / step) * step, step) === threshold;
  while (10 ** power > smallest && !isWhole(10 ** power)) power--;
  return Math.max(10 ** power, smallest);
}

/** Bounds beyond are those of the type, not of what is measured. */
const FAR = 1e9;

/** Around the rule's threshold where there is one; within what the column takes. */
function rangeOf(column: NumberColumn, rule: OwnRule | null): [low: number, high: number] {
  const { min = -FAR, max = FAR } = column;
  if (typeof rule?.threshold === 'number') {
    const span = Math.max(Math.abs(rule.threshold), 10);
    return [Math.max(min, rule.threshold - span), Math.min(max, rule.threshold + span)];
  }
  const low = min > -FAR ? min : Math.min(0, max - 100);
  return [low, max < FAR ? max : low + Math.max(100, Math.abs(low))];
}

const WORDS = ['alpha', 'bravo', 'charlie', 'delta', 'echo', 'foxtrot', 'golf', 'hotel'];
/** Degrees that a point moves between two readings at the most. */
const WANDER = 0.01;

/** A series for each column, whether it has a rule or not. */
export function fillersOf({ columns }: Pick<Model, 'columns'>): Filler[] {
  return Object.entries(columns).map(([key, column]) => ({
    key,
    required: !column.nullable,
    series: seriesOf(column),
  }));
}

function seriesOf(column: Column): Filler['series'] {
  if (column.type === 'point') return wandering;
  const only = column.type === 'text' ? fixedText(column) : onlyValue(column);
  return (random) => () => only[integerBetween(random, 0, only.length - 1)] as string;
}

function fixedText({ values, maxLength }: Extract<Column, { type: 'text' }>): readonly string[] {
  return values ?? WORDS.map((word) => word.slice(0, maxLength));
}

/** Of a column on which no rule could be: its range has a single value. */
function onlyValue(column: Column): readonly unknown[] {
  return 'min' in column && column.min !== undefined ? [column.min] : [0];
}

/** A walk over the earth between the polar circles. */
const wandering: Filler['series'] = (random) => {
  let latitude = integerBetween(random, -60_000, 60_000) / 1000;
  let longitude = integerBetween(random, -179_000, 179_000) / 1000;
  const moved = (from: number, limit: number) => {
    const to = from + (random() * 2 - 1) * WANDER;
    return tidy(Math.min(limit, Math.max(-limit, to)), 1e-6);
  };
  return () => {
    latitude = moved(latitude, 66);
    longitude = moved(longitude, 180);
    return { latitude, longitude };
  };
};
