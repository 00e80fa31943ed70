import type { Reading } from '../domain/reading.ts';
import type { Micros } from '../domain/time.ts';
import { deviceKey } from '../domain/topic.ts';

/** Committed readings, as they come, for those who watch one device. */
export interface ReadingFeed {
  /**
   * Readings of one device published from now on, in that order, none twice. A watcher that falls
   * more than `capacity` readings behind is ended with an OverrunError, so that it never grows the
   * process. The signal ends the watch, also while it waits, which a generator's own return() could
   * not.
   */
  watch(device: Device, signal: AbortSignal): AsyncIterableIterator<Reading>;
  /** Hands committed readings to the watchers, but those that they were given before. */
  publish(readings: readonly Reading[]): void;
  /** The devices that somebody watches. */
  watched(): Device[];
  /** Calls back whenever a device finds its first watcher. */
  onWatch(listener: () => void): void;
  /** Says up to which event time a device's readings won't be published from the database again. */
  readUpTo(device: Device, time: Micros): void;
  /** Ends every watcher. */
  close(): void;
}

export class OverrunError extends Error {
  override name = 'OverrunError';
}

export interface Device {
  userId: string;
  deviceId: string;
}

interface Watcher {
  queue: Reading[];
  wake: (() => void) | null;
  state: 'open' | 'ended' | 'overrun';
}

/** A device that is watched. */
interface Group {
  device: Device;
  watchers: Set<Watcher>;
  /** Keys of what was published, the oldest first. */
  recent: Map<string, { time: Micros; publishedAtMs: number }>;
  readUpTo: Micros;
}

/** A lane may publish what was read from the database before, and a device may send twice. */
const REMEMBERED_MS = 60_000;
const MAX_REMEMBERED = 20_000;

export function createReadingFeed(options: { capacity: number }): ReadingFeed {
  const groups = new Map<string, Group>();
  let onWatch = (): void => {};

  function groupOf(device: Device): Group {
    const key = deviceKey(device);
    let group = groups.get(key);
    if (group === undefined) {
      group = { device, watchers: new Set(), recent: new Map(), readUpTo: 0 };
      groups.set(key, group);
      onWatch();
    }
    return group;
  }

  function watch(device: Device, signal: AbortSignal): AsyncIterableIterator<Reading> {
    const watcher: Watcher = { queue: [], wake: null, state: signal.aborted ? 'ended' : 'open' };
    if (signal.aborted) return drain(watcher);
    const group = groupOf({ userId: device.userId, deviceId: device.deviceId });
    group.watchers.add(watcher);
    signal.addEventListener(
      'abort',
      () => {
        group.watchers.delete(watcher);
        const key = deviceKey(device);
        if (group.watchers.size === 0 && groups.get(key) === group) groups.delete(key);
        end(watcher, 'ended');
      },
      { once: true },
    );
    return drain(watcher);
  }

  function publishTo(group: Group, reading: Reading, nowMs: number): void {
    const key = `${reading.time}/${reading.sequenceId}`;
    if (group.recent.has(key)) return;
    group.recent.set(key, { time: reading.time, publishedAtMs: nowMs });
    for (const watcher of group.watchers) {
      if (watcher.queue.length >= options.capacity) end(watcher, 'overrun');
      if (watcher.state !== 'open') continue;
      watcher.queue.push(reading);
      watcher.wake?.();
    }
  }

  return {
    watch,
    publish(readings) {
      if (groups.size === 0) return;
      const nowMs = performance.now();
      const touched = new Set<Group>();
      for (const reading of readings) {
        const group = groups.get(deviceKey(reading));
        if (group === undefined) continue;
        publishTo(group, reading, nowMs);
        touched.add(group);
      }
      for (const group of touched) forget(group, nowMs);
    },
    watched: () => [...groups.values()].map(({ device }) => device),
    onWatch(listener) {
      onWatch = listener;
    },
    readUpTo(device, time) {
      const group = groups.get(deviceKey(device));
      if (group !== undefined) group.readUpTo = time;
    },
    close() {
      for (const { watchers } of groups.values()) {
        for (const watcher of watchers) end(watcher, 'ended');
      }
    },
  };
}

function end(watcher: Watcher, state: 'ended' | 'overrun'): void {
  watcher.state = state;
  watcher.wake?.();
}

/** What the database may still give is kept, but not without a bound. */
function forget({ recent, readUpTo }: Group, nowMs: number): void {
  for (const [key, { time, publishedAtMs }] of recent) {
    const isOver = nowMs - publishedAtMs > REMEMBERED_MS && time <= readUpTo;
    if (!isOver && recent.size <= MAX_REMEMBERED) return;
    recent.delete(key);
  }
}

async function* drain(watcher: Watcher): AsyncIterableIterator<Reading> {
  while (true) {
    const reading = watcher.queue.shift();
    if (reading !== undefined) {
      yield reading;
    } else if (watcher.state === 'overrun') {
      throw new OverrunError('the watcher is too far behind');
    } else if (watcher.state === 'ended') {
      return;
    } else {
      await new Promise<void>((resolve) => {
        watcher.wake = resolve;
      });
    }
  }
}
