import type { Model } from '../domain/model.ts';
import { fieldName } from '../domain/model-names.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import { compileTopic } from '../domain/topic.ts';
import { model as defaultModel } from '../model.ts';
import { type Fields, type Filler, place } from './fleet.ts';
import { fillersOf, signalsOf } from './model-signals.ts';
import type { DeviceName } from './queries.ts';
import type { Random } from './random.ts';
import { draw, SIGNALS, type Signal } from './signals.ts';

/** How devices of a model are simulated. */
export interface Simulation {
  /** The one user to whom everything belongs; null where each device has one of its own. */
  readonly owner: string | null;
  /** Whether readings carry a sequence id; else a device's times differ. */
  readonly hasSequence: boolean;
  /** At least one. */
  readonly signals: readonly Signal[];
  readonly fillers: readonly Filler[];
  /** The model's shorthands by their GraphQL names, with the rule that each stands for. */
  readonly shorthands: Record<string, Model['shorthands'][string]>;
  topic(device: DeviceName): string;
  /** A message's payload. */
  encode(time: Micros, sequenceId: number, fields: Fields): string;
}

/**
 * The default model keeps its five signals, of which three are in fields that it doesn't declare.
 *
 * @throws Error where the model has no column that a rule could look at
 */
export function createSimulation(model: Model): Simulation {
  const { owner, sequence } = model;
  const { format } = compileTopic(model);
  const signals = model === defaultModel ? SIGNALS : signalsOf(model);
  if (signals.length === 0) {
    throw new Error(
      `no column of "${model.table}" can have a rule that the load test could breach; add a number, ` +
        'a boolean or text with `values`',
    );
  }
  const keys = new Set(signals.map(({ key }) => key));
  return {
    owner: 'constant' in owner ? owner.constant : null,
    hasSequence: sequence !== null,
    signals,
    fillers: fillersOf(model).filter(({ key }) => !keys.has(key)),
    shorthands: Object.fromEntries(
      Object.entries(model.shorthands).map(([name, rule]) => [fieldName(name), rule]),
    ),
    topic: format,
    encode(time, sequenceId, fields) {
      const number = sequence === null ? {} : { [sequence.column]: sequenceId };
      return JSON.stringify({ time: formatMicros(time), ...number, ...fields });
    },
  };
}

/** One reading by itself, in which these signals' rules hold. */
export function readingOf(
  { signals, fillers }: Pick<Simulation, 'signals' | 'fillers'>,
  random: Random,
  holds: (signal: Signal) => boolean,
): Fields {
  const fields: Fields = {};
  for (const signal of signals) place(fields, signal.key, draw(random, signal, holds(signal)));
  for (const { key, series } of fillers) fields[key] = series(random)();
  return fields;
}
