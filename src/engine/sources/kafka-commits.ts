import type { Logger } from 'pino';
import { withDeadline } from '../retry.ts';

export interface PartitionOffset {
  partition: number;
  /** The next offset to read. */
  offset: number;
}

/** The group's positions on their way to the broker: many commits, one request. */
export interface OffsetCommits {
  /** Never moves backwards, and is with the broker within some `intervalMs`. */
  commit(partition: number, next: number): void;
  /** What was committed or is about to be; null when nothing is known. */
  known(partition: number): number | null;
  /** What the broker has, as asked now. */
  learn(partition: number, committed: number): void;
  /** The partition is another's now, or its log begins anew. */
  forget(partition: number): void;
  /**
   * Sends all again, and waits for no answer that is still due: a broker that went away may not
   * have kept the last of them, nor ever answer.
   */
  resend(): void;
  /** Sends what waits. Resolves when that was tried; a failure is tried again later. */
  flush(): Promise<void>;
  stop(): void;
}

/** A coordinator that moved may leave an answer owing: what waits behind it is sent anew. */
export const SEND_DEADLINE_MS = 10_000;

export function createOffsetCommits(options: {
  /** Rejects when the broker refuses or is away. */
  send: (offsets: PartitionOffset[]) => Promise<void>;
  intervalMs: number;
  logger: Logger;
}): OffsetCommits {
  const { send, intervalMs, logger } = options;
  const known = new Map<number, number>();
  const waiting = new Set<number>();
  let timer: ReturnType<typeof setTimeout> | null = null;
  let sending: Promise<void> | null = null;
  let stopped = false;
  /** Ends the wait for the answer that is due. */
  let giveUp = new AbortController();

  function schedule(): void {
    if (timer !== null || stopped) return;
    timer = setTimeout(() => {
      timer = null;
      void flush();
    }, intervalMs);
  }

  async function flush(): Promise<void> {
    while (sending !== null) await sending;
    if (waiting.size === 0) return;
    sending = sendWaiting();
    await sending;
    sending = null;
    if (waiting.size > 0) schedule();
  }

  async function sendWaiting(): Promise<void> {
    const partitions = [...waiting];
    waiting.clear();
    const offsets = partitions.flatMap((partition) => {
      const offset = known.get(partition);
      return offset === undefined ? [] : [{ partition, offset }];
    });
    try {
      if (offsets.length > 0) {
        await withDeadline(send(offsets), SEND_DEADLINE_MS, 'a commit', giveUp.signal);
      }
    } catch (error) {
      logger.debug({ err: error }, 'offsets not committed: tried again later');
      for (const partition of partitions) if (known.has(partition)) waiting.add(partition);
    }
  }

  return {
    commit(partition, next) {
      const before = known.get(partition);
      if (before !== undefined && next <= before) return;
      known.set(partition, next);
      waiting.add(partition);
      schedule();
    },
    known: (partition) => known.get(partition) ?? null,
    learn(partition, committed) {
      const before = known.get(partition);
      if (before === undefined || committed > before) known.set(partition, committed);
    },
    forget(partition) {
      known.delete(partition);
      waiting.delete(partition);
    },
    resend() {
      giveUp.abort();
      giveUp = new AbortController();
      for (const partition of known.keys()) waiting.add(partition);
      if (waiting.size > 0) schedule();
    },
    flush,
    stop() {
      stopped = true;
      if (timer !== null) clearTimeout(timer);
      timer = null;
    },
  };
}
