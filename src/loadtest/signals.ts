import type { Operator, Scalar } from '../domain/rule.ts';
import { integerBetween, type Random } from './random.ts';

interface SignalRule {
  key: string;
  operator: Operator;
  threshold: Scalar;
  /** Null where the server is to derive the rule's id from key and operator. */
  ruleId: string | null;
  /** Set where the rule stands in the model's shorthand of this name, as it does in GraphQL. */
  shorthand?: string;
  /** A reading without it would be refused. */
  required?: boolean;
}

/** A number and the rule on it. The values nearest to the threshold come up often. */
export interface NumberSignal extends SignalRule {
  threshold: number;
  /** [far from the threshold, nearest to it], in steps of `step`; the rule doesn't hold. */
  calm: readonly [number, number];
  /** [nearest to the threshold, far from it]; the rule holds. */
  breach: readonly [number, number];
  step: number;
}

/** Text or a boolean and the rule on it. */
export interface ChoiceSignal extends SignalRule {
  /** The rule doesn't hold. */
  choices: readonly Scalar[];
  /** The rule holds. */
  breaches: readonly Scalar[];
}

export type Signal = NumberSignal | ChoiceSignal;

/** What the devices of the default model measure, most of it in fields that it doesn't declare. */
export const SIGNALS: readonly NumberSignal[] = [
  {
    key: 'temperature',
    operator: '>',
    threshold: 80,
    ruleId: 'temperature-max',
    shorthand: 'temperatureMax',
    calm: [20, 80],
    breach: [80.1, 120],
    step: 0.1,
  },
  {
    key: 'battery',
    operator: '<',
    threshold: 20,
    ruleId: 'low-battery',
    calm: [100, 20],
    breach: [19, 0],
    step: 1,
  },
  {
    key: 'pressure',
    operator: '>',
    threshold: 105.5,
    ruleId: 'overpressure',
    calm: [90, 105.5],
    breach: [105.6, 130],
    step: 0.1,
  },
  {
    key: 'engine.rpm',
    operator: '>',
    threshold: 6000,
    ruleId: 'overspeed',
    calm: [800, 6000],
    breach: [6001, 8000],
    step: 1,
  },
  {
    key: 'vibration',
    operator: '>=',
    threshold: 9,
    ruleId: null,
    calm: [0, 8.9],
    breach: [9, 20],
    step: 0.1,
  },
];

const EDGE_SHARE = 0.125;

/** A value for which the rule holds, or doesn't. */
export function draw(random: Random, signal: Signal, holds: boolean): Scalar {
  if ('step' in signal) return drawNumber(random, signal, holds);
  const choices = holds ? signal.breaches : signal.choices;
  return choices[integerBetween(random, 0, choices.length - 1)] as Scalar;
}

function drawNumber(random: Random, signal: NumberSignal, holds: boolean): number {
  const [first, last] = holds ? signal.breach : signal.calm;
  if (random() < EDGE_SHARE) return holds ? first : last;
  const { step } = signal;
  const steps = Math.round(Math.abs(last - first) / step);
  return tidy(Math.min(first, last) + integerBetween(random, 0, steps) * step, step);
}

/** Without what adding up fractions leaves behind: 80.1, not 80.10000000000001. */
export function tidy(value: number, step: number): number {
  if (step >= 1) return value;
  const perOne = Math.round(1 / step);
  return Math.round(value * perOne) / perOne;
}
