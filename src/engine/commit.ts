import type { PartitionReader } from '../domain/log.ts';
import type { AlertEventTail } from '../store/alert-event-tail.ts';
import type { DeviceState } from '../store/device-state.ts';
import type { Batch } from './batch.ts';
import type { ReadingFeed } from './reading-feed.ts';

/** The states of the devices that were heard of last, as committed. */
export interface StateCache {
  get(key: string): DeviceState | undefined;
  /** Whether the database was asked: a device never seen is known to have no state. */
  has(key: string): boolean;
  set(key: string, state: DeviceState | undefined): void;
  clear(): void;
}

/** Keeps at most `capacity` devices, the least recently written go first. */
export function createStateCache(capacity: number): StateCache {
  const states = new Map<string, DeviceState | undefined>();
  return {
    get: (key) => states.get(key),
    has: (key) => states.has(key),
    clear: () => states.clear(),
    set(key, state) {
      states.delete(key);
      states.set(key, state);
      if (states.size <= capacity) return;
      const oldest = states.keys().next();
      if (!oldest.done) states.delete(oldest.value);
    },
  };
}

/** Hears of dead letters when they are committed, and copies them elsewhere at its own pace. */
export interface DeadLetterSink {
  poke(partition: number): void;
}

/** What follows the transaction: only now may anybody hear of the batch. */
export async function commitBatch(
  deps: {
    reader: PartitionReader;
    states: StateCache;
    feed: ReadingFeed;
    tail: Pick<AlertEventTail, 'poke'>;
    deadLetters?: DeadLetterSink | undefined;
  },
  batch: Batch,
  /** Before the batch: what is at or below it was heard of long ago. */
  watermark: number,
): Promise<void> {
  for (const [key, state] of batch.devices) deps.states.set(key, state);
  if (batch.transitions.length > 0) deps.tail.poke();
  if (batch.deadLetters.length > 0) deps.deadLetters?.poke(deps.reader.partition);
  const live = batch.replay
    ? batch.readings.filter((row) => row.offset > watermark)
    : batch.readings;
  deps.feed.publish(live.map((row) => row.reading));
  if (batch.lastOffset < 0) return;
  await deps.reader.commit(batch.lastOffset + 1).catch((error) => {
    // The last batch of a partition that is another's by now: the watermark tells them of it.
    if (!deps.reader.signal.aborted) throw error;
  });
}
