import type { Reading } from '../domain/reading.ts';

/** Committed readings, as they come, for those who watch one device. */
export interface ReadingFeed {
  /**
   * Readings of one device committed from now on, in commit order. A watcher that falls more than
   * `capacity` readings behind is ended with an error, so that it never grows the process. The
   * signal ends the watch, also while it waits, which a generator's own return() could not.
   */
  watch(device: Device, signal: AbortSignal): AsyncIterableIterator<Reading>;
  /** Hands a committed batch to the watchers. */
  publish(readings: readonly Reading[]): void;
  /** Ends every watcher. */
  close(): void;
}

interface Device {
  userId: string;
  deviceId: string;
}

interface Watcher {
  queue: Reading[];
  wake: (() => void) | null;
  state: 'open' | 'ended' | 'overrun';
}

export function createReadingFeed(options: { capacity: number }): ReadingFeed {
  const watchers = new Map<string, Set<Watcher>>();
  const keyOf = (device: Device) => `${device.userId}/${device.deviceId}`;

  function end(watcher: Watcher, state: 'ended' | 'overrun'): void {
    watcher.state = state;
    watcher.wake?.();
  }

  function watch(device: Device, signal: AbortSignal): AsyncIterableIterator<Reading> {
    const key = keyOf(device);
    const watcher: Watcher = { queue: [], wake: null, state: signal.aborted ? 'ended' : 'open' };
    const group = watchers.get(key) ?? new Set();
    watchers.set(key, group.add(watcher));
    signal.addEventListener(
      'abort',
      () => {
        group.delete(watcher);
        if (group.size === 0 && watchers.get(key) === group) watchers.delete(key);
        end(watcher, 'ended');
      },
      { once: true },
    );
    return drain(watcher);
  }

  return {
    watch,
    publish(readings) {
      if (watchers.size === 0) return;
      for (const reading of readings) {
        for (const watcher of watchers.get(keyOf(reading)) ?? []) {
          if (watcher.queue.length >= options.capacity) end(watcher, 'overrun');
          if (watcher.state !== 'open') continue;
          watcher.queue.push(reading);
          watcher.wake?.();
        }
      }
    },
    close() {
      for (const group of watchers.values()) for (const watcher of group) end(watcher, 'ended');
    },
  };
}

async function* drain(watcher: Watcher): AsyncIterableIterator<Reading> {
  while (true) {
    const reading = watcher.queue.shift();
    if (reading !== undefined) {
      yield reading;
    } else if (watcher.state === 'overrun') {
      throw new Error('too slow: subscribe again');
    } else if (watcher.state === 'ended') {
      return;
    } else {
      await new Promise<void>((resolve) => {
        watcher.wake = resolve;
      });
    }
  }
}
