import { formatMicros, type Micros } from '../domain/time.ts';
import type { DeviceState } from './device-state.ts';
import { literal } from './literal.ts';
import { packMemory } from './pack-memory.ts';
import { textArray } from './text-array.ts';

/**
 * States as literals of arrays, one for each column of device_state in its order. In place of
 * `rules` is the place, from 1, of what it says among `texts`: each text is sent and parsed once.
 */
export function stateLists(states: readonly DeviceState[]): { columns: string; texts: string } {
  const packed = states.map(({ memory }) => packMemory(memory));
  const texts = [...new Set(packed.map(({ rules }) => rules))];
  const places = new Map(texts.map((text, index) => [text, index + 1]));
  const columns = [
    list(states.map(({ userId }) => userId)),
    list(states.map(({ deviceId }) => deviceId)),
    numbers(
      'integer',
      states.map(({ partition }) => partition),
    ),
    numbers(
      'bigint',
      states.map(({ version }) => version),
    ),
    times(states.map(({ firstSeenAt }) => firstSeenAt)),
    times(states.map(({ newestTime }) => newestTime)),
    times(states.map(({ lastArrivalAt }) => lastArrivalAt)),
    numbers(
      'integer',
      packed.map(({ rules }) => places.get(rules) as number),
    ),
    times(packed.map(({ calmTime }) => calmTime)),
    numbers(
      'bigint',
      packed.map(({ calmSequence }) => calmSequence),
    ),
  ];
  return { columns: columns.join(', '), texts: list(texts, 'jsonb') };
}

function list(values: readonly string[], type: 'text' | 'jsonb' = 'text'): string {
  return `${literal(textArray(values))}::${type}[]`;
}

function numbers(type: 'integer' | 'bigint', values: readonly (number | null)[]): string {
  return `'{${values.map((value) => value ?? 'NULL').join(',')}}'::${type}[]`;
}

/** A time has no comma, brace or blank, and needs no quotes. */
function times(values: readonly (Micros | null)[]): string {
  const texts = values.map((value) => (value === null ? 'NULL' : formatMicros(value)));
  return `'{${texts.join(',')}}'::timestamptz[]`;
}
