import { formatMicros, type Micros } from '../domain/time.ts';
import type { DeviceState } from './device-state.ts';
import { literal } from './literal.ts';
import { packMemory } from './pack-memory.ts';
import { textArray } from './text-array.ts';

/**
 * Writes the states as `saveDeviceStates` does, in a statement that the session has planned: of 8
 * devices in 0.4 ms less of the server's CPU. Fails with BATCH_REFUSED where that gives false.
 */
export function saveStatesStatement(states: readonly DeviceState[]): string {
  const packed = states.map(({ memory }) => packMemory(memory));
  const texts = [...new Set(packed.map(({ rules }) => rules))];
  const places = new Map(texts.map((text, index) => [text, index + 1]));
  const lists = [
    textList(states.map(({ userId }) => userId)),
    textList(states.map(({ deviceId }) => deviceId)),
    numbers(states.map(({ partition }) => partition)),
    numbers(states.map(({ version }) => version)),
    times(states.map(({ firstSeenAt }) => firstSeenAt)),
    times(states.map(({ newestTime }) => newestTime)),
    times(states.map(({ lastArrivalAt }) => lastArrivalAt)),
    numbers(packed.map(({ rules }) => places.get(rules) as number)),
    times(packed.map(({ calmTime }) => calmTime)),
    numbers(packed.map(({ calmSequence }) => calmSequence)),
    textList(texts),
  ];
  return `SELECT pulsegraph_save_states(${lists.join(', ')})`;
}

function textList(values: readonly string[]): string {
  return literal(textArray(values));
}

function numbers(values: readonly (number | null)[]): string {
  return `'{${values.map((value) => value ?? 'NULL').join(',')}}'`;
}

/** A time has no comma, brace or blank, and needs no quotes. */
function times(values: readonly (Micros | null)[]): string {
  const texts = values.map((value) => (value === null ? 'NULL' : formatMicros(value)));
  return `'{${texts.join(',')}}'`;
}
