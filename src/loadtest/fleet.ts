import type { Operator } from '../domain/rule.ts';
import { createRandom, integerBetween, type Random } from './random.ts';

/** One measured value and the rule on it. The values nearest to the threshold come up often. */
export interface Signal {
  key: string;
  operator: Operator;
  threshold: number;
  /** Null where the server is to derive the rule's id from key and operator. */
  ruleId: string | null;
  /** [far from the threshold, nearest to it], in steps of `step`; the rule doesn't hold. */
  calm: readonly [number, number];
  /** [nearest to the threshold, far from it]; the rule holds. */
  breach: readonly [number, number];
  step: number;
}

/** The first signal's rule is set as the user's temperatureMax, all others as rules. */
export const SIGNALS: readonly Signal[] = [
  {
    key: 'temperature',
    operator: '>',
    threshold: 80,
    ruleId: 'temperature-max',
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

/** Fewer would let a resend after a crash make an alert that nobody can foresee. */
export const MIN_RUN = 3;
const MAX_BREACH = 8;
const EDGE_SHARE = 0.125;
const OMIT_SHARE = 0.05;

/** A device's breach of one rule: sequence ids, the first one inside and the first one after. */
export interface Breach {
  signal: number;
  from: number;
  until: number;
}

export interface DeviceSeed {
  seed: number;
  device: string;
  /** Mean number of readings between two breaches; at least MIN_RUN. */
  meanCalm: number;
}

/**
 * When a device breaches which rule, without end, in order: at least MIN_RUN readings inside, then
 * at least MIN_RUN outside, and never two rules at once. The values follow from this, not the
 * other way round, so that what must be alerted is known without evaluating any rule.
 */
export function* breaches({ seed, device, meanCalm }: DeviceSeed): Generator<Breach, never> {
  const random = createRandom(seed, device, 'breaches');
  let sequenceId = 1;
  for (;;) {
    const from = sequenceId + integerBetween(random, MIN_RUN, 2 * meanCalm - MIN_RUN);
    const until = from + integerBetween(random, MIN_RUN, MAX_BREACH);
    yield { signal: integerBetween(random, 0, SIGNALS.length - 1), from, until };
    sequenceId = until;
  }
}

/** The breaches that began within the first `published` readings. */
export function breachesWithin(device: DeviceSeed, published: number): Breach[] {
  const found: Breach[] = [];
  for (const breach of breaches(device)) {
    if (breach.from > published) return found;
    found.push(breach);
  }
  return found;
}

/** A reading's payload without time and sequence_id. Dotted keys are nested objects. */
export type Fields = { [key: string]: number | Fields };

/** A device's readings in order of sequence id, beginning with 1. */
export function createSeries(device: DeviceSeed): { next(): Fields } {
  const random = createRandom(device.seed, device.device, 'values');
  const plan = breaches(device);
  let breach: Breach = plan.next().value;
  let previous: Breach | null = null;
  let sequenceId = 0;

  function next(): Fields {
    sequenceId++;
    if (sequenceId >= breach.until) {
      previous = breach;
      breach = plan.next().value;
    }
    const crossing = sequenceId === breach.from || sequenceId === previous?.until;
    // A missing key must leave its rule's state as it is; the readings that cross are complete.
    const omitted =
      !crossing && random() < OMIT_SHARE ? integerBetween(random, 0, SIGNALS.length - 1) : null;
    const fields: Fields = {};
    SIGNALS.forEach((signal, index) => {
      const inside = index === breach.signal && sequenceId >= breach.from;
      const value = draw(random, inside ? signal.breach : signal.calm, signal, inside);
      if (index !== omitted) place(fields, signal.key, value);
    });
    return fields;
  }

  return { next };
}

function draw(
  random: Random,
  [first, last]: readonly [number, number],
  { step }: Signal,
  inside: boolean,
): number {
  const edge = inside ? first : last;
  if (random() < EDGE_SHARE) return edge;
  const steps = Math.round(Math.abs(last - first) / step);
  const value = Math.min(first, last) + integerBetween(random, 0, steps) * step;
  return Math.round(value * 10) / 10;
}

/** Puts a value at a dotted key: `engine.rpm` becomes { engine: { rpm } }. */
export function place(fields: Fields, key: string, value: number): void {
  const path = key.split('.');
  const name = path.pop() as string;
  let target = fields;
  for (const part of path) {
    const inner = target[part];
    if (typeof inner === 'object') target = inner;
    else {
      const made: Fields = {};
      target[part] = made;
      target = made;
    }
  }
  target[name] = value;
}
