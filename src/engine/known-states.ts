import { deviceKey } from '../domain/topic.ts';
import type { Sql } from '../store/connection.ts';
import { type DeviceState, loadDeviceStates } from '../store/device-state.ts';
import type { Batch } from './batch.ts';
import type { Decoded } from './decode.ts';
import type { PersistentWriter } from './persist.ts';

/** The states of the devices that were heard of last, as committed; the database has the others. */
export interface KnownStates {
  /**
   * The states that a chunk of readings is evaluated on. `newer` are the batches that are not
   * committed yet, the newest first; what the first of them holds is left out.
   */
  before(
    decoded: readonly Decoded[],
    newer: readonly [Batch, Batch | undefined],
  ): Promise<ReadonlyMap<string, DeviceState>>;
  committed(batch: Batch): void;
  clear(): void;
}

/**
 * A fleet reports in turn. Where it is larger than the room, keeping whoever came last would drop
 * each device just before its next reading; so of those that are new to a full cache one in so many
 * takes the place of another, and most of what is kept is there when it is needed.
 */
const NEWCOMERS_FOR_ONE = 8;

/** What a device remembers of so many takes about 600 bytes, and of more of them in proportion. */
const RULES_OF_A_DEVICE = 5;
/** Devices of a batch that are looked at for how many rules they have. */
const SAMPLE = 10;

/**
 * Keeps at most `capacity()` devices between batches, asked each time, and fewer where they have
 * more than five rules, but never less than `least`: the least recently written go first.
 */
export function createKnownStates(
  writer: Pick<PersistentWriter, 'query'>,
  { capacity, least = 0 }: { capacity: () => number; least?: number },
): KnownStates {
  /** Undefined for a device that is known to have no state: the database was asked. */
  const states = new Map<string, DeviceState | undefined>();
  let newcomers = 0;
  /** How many rules a device has, as a moving average. */
  let rulesEach = 0;

  function room(): number {
    const share = RULES_OF_A_DEVICE / Math.max(RULES_OF_A_DEVICE, rulesEach);
    return Math.max(least, capacity() * share);
  }

  function weigh(batch: Batch): void {
    for (const { memory } of batch.devices.values().take(SAMPLE)) {
      rulesEach += (Object.keys(memory.rules).length - rulesEach) / SAMPLE;
    }
  }

  function keep(key: string, state: DeviceState | undefined): void {
    const isNew = !states.delete(key);
    if (isNew && states.size >= room() && ++newcomers % NEWCOMERS_FOR_ONE !== 0) return;
    states.set(key, state);
  }

  /** Once a batch: to find the oldest takes a way past all that were deleted before it. */
  function trim(): void {
    const excess = Math.ceil(states.size - room());
    if (excess <= 0) return;
    for (const oldest of states.keys().take(excess)) states.delete(oldest);
  }

  const before: KnownStates['before'] = async (decoded, [open, inFlight]) => {
    const found = new Map<string, DeviceState>();
    const missing = new Map<string, { userId: string; deviceId: string }>();
    for (const one of decoded) {
      if (!one.ok) continue;
      const { device: key } = one;
      if (found.has(key) || missing.has(key) || open.devices.has(key)) continue;
      const state = inFlight?.devices.get(key) ?? states.get(key);
      if (state !== undefined) found.set(key, state);
      else if (!states.has(key)) missing.set(key, one.reading);
    }
    if (missing.size === 0) return found;
    const devices = [...missing.values()];
    const load = (sql: Sql) => loadDeviceStates(sql, devices);
    for (const state of await writer.query('reading the states of devices', load)) {
      found.set(deviceKey(state), state);
    }
    for (const key of missing.keys()) keep(key, found.get(key));
    trim();
    return found;
  };

  return {
    before,
    committed(batch) {
      weigh(batch);
      for (const [key, state] of batch.devices) keep(key, state);
      trim();
    },
    clear: () => states.clear(),
  };
}
