import type { Logger } from 'pino';
import type { AlertEvent } from '../domain/alert.ts';
import { alertEventRange } from './alert-event-range.ts';
import { alertEventsAfter } from './alert-events-after.ts';
import { alertEventsOfUser } from './alert-events-of-user.ts';
import type { Sql } from './connection.ts';

/** alert_events in commit order, followed once for all readers of this process. */
export interface AlertEventTail {
  /** Loads the newest seq and begins to follow. Rejects when the database can't be read. */
  start(): Promise<void>;
  /** The newest seq known here; 0 before the first event. */
  newest(): number;
  /**
   * Resolves once there is an event above `after`, of this user where one is named, or the signal
   * aborts; rejects when the tail is closed.
   *
   * @returns where to read on: of what is wanted, nothing lies between `after` and there
   */
  wait(after: number, signal: AbortSignal, userId?: string | null): Promise<number>;
  /**
   * The next events above `after`, in order. From memory while it reaches back that far, else from
   * the database; rejects where that is away, and with PrunedError where some are deleted. May
   * give less than `limit` though there are more; of one user's, where one is named, less are all
   * up to newest() as it was before.
   */
  read(after: number, limit: number, userId?: string | null): Promise<AlertEvent[]>;
  /**
   * Says that events are committed, up to `seq` where that is known: those not known here yet are
   * read; at once, but where the seq is known only if they are not handed over within 5 ms.
   */
  poke(seq?: number): void;
  /**
   * Hands over events that this process has just committed, in order of seq: they need not be read,
   * unless one before them stays away.
   */
  committed(events: readonly AlertEvent[]): void;
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
/**
 * A notification often comes before the answer to the COMMIT that it tells of, and answers to
 * commits of several lanes in another order than these.
 */
const HANDED_OVER_WITHIN_MS = 5;
/** Events held for one before them that is not there yet. */
const MAX_AHEAD = 1_000;
const MAX_BACKOFF_MS = 1_000;

interface Waiter {
  after: number;
  resolve: (readFrom: number) => void;
  reject: (error: Error) => void;
}

export function createAlertEventTail({
  sql,
  logger,
  pollIntervalMs = 250,
  capacity = 10_000,
}: AlertEventTailOptions): AlertEventTail {
  /** By the user whose events they wait for; null for anybody's. */
  const waiters = new Map<string | null, Set<Waiter>>();
  /** Every stored event with floor < seq <= newest, in order. */
  const ring: AlertEvent[] = [];
  /** The same by user. */
  let ofUsers = new Map<string, AlertEvent[]>();
  /** Handed over, by seq: one before them is missing. */
  const ahead = new Map<number, AlertEvent>();
  let soon: ReturnType<typeof setTimeout> | null = null;
  /** The highest seq that somebody spoke of. */
  let spokenOf = 0;
  let floor = 0;
  let newest = 0;
  let failures = 0;
  let poked = false;
  let closed = false;
  let endPause: (() => void) | null = null;
  let following: Promise<void> = Promise.resolve();

  function append(found: readonly AlertEvent[]): void {
    // While they were read, some were handed over.
    const events = found.filter(({ seq }) => seq > newest);
    addAhead(events);
    const last = events.at(-1);
    if (last === undefined) return;
    ring.push(...events);
    // Trimmed in pieces: a ring that moves with every event would be copied with every event.
    if (ring.length > capacity * 1.25) {
      const dropped = ring.splice(0, ring.length - capacity);
      floor = (dropped.at(-1) as AlertEvent).seq;
      ofUsers = Map.groupBy(ring, (event) => event.userId);
    } else {
      for (const event of events) {
        const ofUser = ofUsers.get(event.userId);
        if (ofUser === undefined) ofUsers.set(event.userId, [event]);
        else ofUser.push(event);
      }
    }
    newest = last.seq;
    wake(null, newest);
    for (const [userId, first] of firstOfEach(events)) wake(userId, first.seq);
  }

  /** Those that were waiting for just these. */
  function addAhead(events: AlertEvent[]): void {
    if (ahead.size === 0) return;
    let upTo = events.at(-1)?.seq ?? newest;
    for (let next = ahead.get(upTo + 1); next; next = ahead.get(upTo + 1)) {
      events.push(next);
      upTo = next.seq;
    }
    for (const seq of ahead.keys()) if (seq <= upTo) ahead.delete(seq);
  }

  function poke(seq?: number): void {
    if (seq === undefined) readNow();
    else if (seq > newest) readSoon(seq);
  }

  function readSoon(seq: number): void {
    spokenOf = Math.max(spokenOf, seq);
    soon ??= setTimeout(() => {
      soon = null;
      if (spokenOf > newest) readNow();
    }, HANDED_OVER_WITHIN_MS);
  }

  function readNow(): void {
    poked = true;
    if (failures === 0) endPause?.();
  }

  function hold(events: readonly AlertEvent[]): void {
    for (const event of events) {
      if (event.seq > newest && ahead.size < MAX_AHEAD) ahead.set(event.seq, event);
    }
  }

  /** @param seq of an event that they wait for */
  function wake(userId: string | null, seq: number): void {
    for (const waiter of waiters.get(userId) ?? []) {
      if (seq > waiter.after) waiter.resolve(userId === null ? waiter.after : seq - 1);
    }
  }

  /** Where to read on, where something is there already: what is not in memory may be wanted. */
  function readFrom(after: number, userId: string | null): number | null {
    if (newest <= after) return null;
    if (userId === null || after < floor) return after;
    const ofUser = ofUsers.get(userId) ?? [];
    const next = ofUser[firstAbove(ofUser, after)];
    return next === undefined ? null : next.seq - 1;
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

  function wait(after: number, signal: AbortSignal, userId: string | null = null): Promise<number> {
    const there = signal.aborted ? after : readFrom(after, userId);
    if (there !== null) return Promise.resolve(there);
    if (closed) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      const ofUser = waiters.get(userId) ?? new Set();
      waiters.set(userId, ofUser);
      const abort = () => waiter.resolve(after);
      const leave = () => {
        ofUser.delete(waiter);
        if (ofUser.size === 0 && waiters.get(userId) === ofUser) waiters.delete(userId);
        signal.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        after,
        resolve: (seq) => {
          leave();
          resolve(seq);
        },
        reject: (error) => {
          leave();
          reject(error);
        },
      };
      ofUser.add(waiter);
      signal.addEventListener('abort', abort);
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
    async read(after, limit, userId = null) {
      if (after < floor) return await readStored(sql, { after, limit, userId, upTo: newest });
      const events = userId === null ? ring : (ofUsers.get(userId) ?? []);
      const from = firstAbove(events, after);
      return events.slice(from, from + limit);
    },
    poke,
    committed(events) {
      hold(events);
      if (ahead.has(newest + 1)) append([]);
      // A gap may be another lane's event, or nobody's: seq is in commit order, but has holes.
      if (ahead.size > 0) poke(events.at(-1)?.seq ?? 0);
    },
    async close() {
      closed = true;
      if (soon !== null) clearTimeout(soon);
      endPause?.();
      for (const ofUser of waiters.values()) {
        for (const waiter of ofUser) waiter.reject(closedError());
      }
      await following;
    },
  };
}

/** Looks at the floor last: what was deleted before the read is below it by then. */
async function readStored(
  sql: Sql,
  { userId, ...range }: { userId: string | null; after: number; upTo: number; limit: number },
): Promise<AlertEvent[]> {
  const { after } = range;
  const events =
    userId === null
      ? await alertEventsAfter(sql, range)
      : await alertEventsOfUser(sql, { ...range, userId });
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

function firstOfEach(events: readonly AlertEvent[]): Map<string, AlertEvent> {
  const first = new Map<string, AlertEvent>();
  for (const event of events) if (!first.has(event.userId)) first.set(event.userId, event);
  return first;
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
