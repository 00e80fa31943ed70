import type { Scalar } from '../domain/rule.ts';
import { createRandom, integerBetween, type Random } from './random.ts';
import { draw, type Signal } from './signals.ts';

/** A column without a rule on it. */
export interface Filler {
  key: string;
  required: boolean;
  /** A device's values, one for each reading. */
  series(random: Random): () => FieldValue;
}

/** Fewer would let a resend after a crash make an alert that nobody can foresee. */
export const MIN_RUN = 3;
const MAX_BREACH = 8;
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
  /** At least one. */
  signals: readonly Signal[];
  fillers?: readonly Filler[];
}

/**
 * When a device breaches which rule, without end, in order: at least MIN_RUN readings inside, then
 * at least MIN_RUN outside, and never two rules at once. The values follow from this, not the
 * other way round, so that what must be alerted is known without evaluating any rule.
 */
export function* breaches({
  seed,
  device,
  meanCalm,
  signals,
}: DeviceSeed): Generator<Breach, never> {
  const random = createRandom(seed, device, 'breaches');
  let sequenceId = 1;
  for (;;) {
    const from = sequenceId + integerBetween(random, MIN_RUN, 2 * meanCalm - MIN_RUN);
    const until = from + integerBetween(random, MIN_RUN, MAX_BREACH);
    yield { signal: integerBetween(random, 0, signals.length - 1), from, until };
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
export type FieldValue = Scalar | Fields;
export type Fields = { [key: string]: FieldValue };

/** A device's readings in order of sequence id, beginning with 1. */
export function createSeries(device: DeviceSeed): { next(): Fields } {
  const random = createRandom(device.seed, device.device, 'values');
  const { signals } = device;
  const fillers = (device.fillers ?? []).map(({ key, required, series }) => {
    const random = createRandom(device.seed, device.device, key);
    return { key, required, random, next: series(random) };
  });
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
      !crossing && random() < OMIT_SHARE ? integerBetween(random, 0, signals.length - 1) : null;
    const fields: Fields = {};
    signals.forEach((signal, index) => {
      const inside = index === breach.signal && sequenceId >= breach.from;
      const value = draw(random, signal, inside);
      if (index !== omitted || signal.required) place(fields, signal.key, value);
    });
    for (const filler of fillers) {
      const value = filler.next();
      if (filler.required || filler.random() >= OMIT_SHARE) fields[filler.key] = value;
    }
    return fields;
  }

  return { next };
}

/** Puts a value at a dotted key: `engine.rpm` becomes { engine: { rpm } }. */
export function place(fields: Fields, key: string, value: Scalar): void {
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
