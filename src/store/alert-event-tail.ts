import type { Logger } from 'pino';
import type { AlertEvent } from '../domain/alert.ts';
import { alertEventRange } from './alert-event-range.ts';
import { alertEventsAfter } from './alert-events-after.ts';
import type { Sql } from './connection.ts';

/** alert_events in commit order, followed once for all readers of this process. */
export interface AlertEventTail {
  /** Loads the newest seq and begins to follow. Rejects when the database can't be read. */
  start(): Promise<void>;
  /** The newest seq known here; 0 before the first event. */
  newest(): number;
  /** Resolves once newest() > after or the signal aborts; rejects when the tail is closed. */
  wait(after: number, signal: AbortSignal): Promise<void>;
  /**
   * The next events above `after`, in order. From memory while it reaches back that far, else from
   * the database; rejects where that is away, and with PrunedError where some are deleted. May
   * give less than `limit` though there are more.
   */
  read(after: number, limit: number): Promise<AlertEvent[]>;
  /** Says that this process has just committed events: they are read at once. */
  poke(): void;
  close(): Promise<void>;
}

export interface AlertEventTailOptions {
  sql: Sql;
  logger: Pick<Logger, 'warn' | 'info'>;
  /** How soon events committed by another process are seen. */
  pollIntervalMs?: number;
  /** Events kept in memory, and up to a quarter more, for readers that are a little behind. */
  capacity?: number;
}

/** The events that were to be read next are deleted. */
export class PrunedError extends Error {
  override name = 'PrunedError';
}

const PAGE = 1_000;
const MAX_BACKOFF_MS = 1_000;

interface Waiter {
  after: number;
  resolve: () => void;
  reject: (error: Error) => void;
}

export function createAlertEventTail({
  sql,
  logger,
  pollIntervalMs = 250,
  capacity = 10_000,
}: AlertEventTailOptions): AlertEventTail {
  const waiters = new Set<Waiter>();
  /** Every stored event with floor < seq <= newest, in order. */
  const ring: AlertEvent[] = [];
  let floor = 0;
  let newest = 0;
  let failures = 0;
  let poked = false;
  let closed = false;
  let endPause: (() => void) | null = null;
  let following: Promise<void> = Promise.resolve();

  function append(events: AlertEvent[]): void {
    const last = events.at(-1);
    if (last === undefined) return;
    ring.push(...events);
    // Trimmed in pieces: a ring that moves with every event would be copied with every event.
    if (ring.length > capacity * 1.25) {
      const dropped = ring.splice(0, ring.length - capacity);
      floor = (dropped.at(-1) as AlertEvent).seq;
    }
    newest = last.seq;
    for (const waiter of waiters) if (newest > waiter.after) waiter.resolve();
  }

  async function catchUp(): Promise<void> {
    while (!closed) {
      const events = await alertEventsAfter(sql, { after: newest, limit: PAGE });
      append(events);
      if (events.length < PAGE) return;
    }
  }

  /** A poke cuts the wait short, but not the backoff: the database is away then. */
  function pause(): Promise<void> {
    const ms = failures === 0 ? pollIntervalMs : backoffMs(failures);
    if (closed || (poked && failures === 0)) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(end, ms);
      function end(): void {
        clearTimeout(timer);
        endPause = null;
        resolve();
      }
      endPause = end;
    });
  }

  async function follow(): Promise<void> {
    while (!closed) {
      await pause();
      // Lowered before the read: a commit during it raises the flag for another one.
      poked = false;
      try {
        await catchUp();
        if (failures > 0) logger.info('alert events are followed again');
        failures = 0;
      } catch (error) {
        if (closed) return;
        failures++;
        if (failures === 1) logger.warn({ err: error }, 'alert events: the database is away');
      }
    }
  }

  function wait(after: number, signal: AbortSignal): Promise<void> {
    if (newest > after || signal.aborted) return Promise.resolve();
    if (closed) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      const settle = (outcome: () => void) => {
        waiters.delete(waiter);
        signal.removeEventListener('abort', waiter.resolve);
        outcome();
      };
      const waiter: Waiter = {
        after,
        resolve: () => settle(resolve),
        reject: (error) => settle(() => reject(error)),
      };
      waiters.add(waiter);
      signal.addEventListener('abort', waiter.resolve);
    });
  }

  return {
    async start() {
      newest = (await alertEventRange(sql)).newest;
      floor = newest;
      following = follow();
    },
    newest: () => newest,
    wait,
    async read(after, limit) {
      if (after < floor) return await readStored(sql, after, limit);
      const from = firstAbove(ring, after);
      return ring.slice(from, from + limit);
    },
    poke() {
      poked = true;
      if (failures === 0) endPause?.();
    },
    async close() {
      closed = true;
      endPause?.();
      for (const waiter of waiters) waiter.reject(closedError());
      await following;
    },
  };
}

/** Looks at the floor last: what was deleted before the read is below it by then. */
async function readStored(sql: Sql, after: number, limit: number): Promise<AlertEvent[]> {
  const events = await alertEventsAfter(sql, { after, limit });
  const stored = await alertEventRange(sql);
  if (after < stored.floor) throw new PrunedError(`alert events after ${after} are deleted`);
  return events;
}

/** Doubles from a quarter second to 1 s, with jitter, so that replicas don't come back in step. */
function backoffMs(failures: number): number {
  const ms = Math.min(MAX_BACKOFF_MS, 250 * 2 ** Math.min(failures - 1, 10));
  return ms * (0.5 + Math.random() / 2);
}

function closedError(): Error {
  return new Error('the alert event tail is closed');
}

/** Index of the first event with a seq above `after`, in logarithmic time. */
function firstAbove(events: readonly AlertEvent[], after: number): number {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((events[middle] as AlertEvent).seq > after) high = middle;
    else low = middle + 1;
  }
  return low;
}
