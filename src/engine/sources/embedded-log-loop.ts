import type { Logger } from 'pino';
import type { LogFileState, Position } from './embedded-log-file.ts';
import type { Groups } from './embedded-log-groups.ts';
import type { AppendQueue } from './embedded-log-queue.ts';
import type { LogWriter } from './embedded-log-writer.ts';

const TICK_MS = 1_000;
const MAX_EXPIRY_INTERVAL_MS = 60_000;
const DROP_BUDGET_MS = 5;
/** Retention by size keeps this share, so that an append seldom has to wait for it. */
const HIGH_WATER = 0.9;

export interface WriteLoopOptions {
  initial: LogFileState;
  maxBytes: number;
  retentionMs: number;
  now: () => number;
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** After a batch is durable, or retention has dropped some. */
  onState: (state: LogFileState) => void;
}

/** Decides what the writer thread does next: batches, retention in small bits, saved commits. */
export interface WriteLoop {
  /** There is a message in the queue, or a commit has moved. */
  wake(): void;
  /** Something may be dropped now that could not before. */
  retryDrop(): void;
  /** Why the log takes no messages now; null while it does. */
  fault(): string | null;
  /** Ends after the batch being written. */
  stop(): Promise<void>;
}

export function createWriteLoop(
  deps: { writer: LogWriter; queue: AppendQueue; groups: Groups },
  options: WriteLoopOptions,
): WriteLoop {
  const { writer, queue, groups } = deps;
  const { maxBytes, retentionMs, now, logger } = options;
  const expiryIntervalMs = Math.min(MAX_EXPIRY_INTERVAL_MS, retentionMs / 10);

  let state = options.initial;
  let running: Promise<void> | null = null;
  let stopped = false;
  let lastExpiryMs = Number.NEGATIVE_INFINITY;
  let expiryDue = true;
  let saveDue = false;
  /** The last try dropped nothing, and no commit has moved since. */
  let nothingToDrop = false;
  let diskFault: string | null = null;
  let wasFull = false;

  // A message larger than the whole limit must not wait for ever: an empty log takes anything.
  const roomBytes = () =>
    state.bounds.some(({ earliest, end }) => earliest < end)
      ? maxBytes - state.usedBytes
      : Number.POSITIVE_INFINITY;
  const blocked = () => queue.size() > 0 && queue.nextBytes() > roomBytes();
  const full = () => nothingToDrop && blocked();
  const fullReason = () =>
    `the embedded log is full (${formatBytes(state.usedBytes)} not yet stored): ` +
    'is the database reachable?';

  function take(next: LogFileState): void {
    state = next;
    diskFault = null;
    options.onState(next);
  }

  /** Sends the unsaved commits along; they stay unsaved when the write fails. */
  async function withUnsaved<T>(write: (positions: Position[]) => Promise<T>): Promise<T> {
    const positions = groups.takeUnsaved();
    saveDue = false;
    try {
      return await write(positions);
    } catch (error) {
      groups.putBack(positions);
      throw error;
    }
  }

  function failed(error: unknown, what: string): void {
    const message = error instanceof Error ? error.message : String(error);
    if (diskFault !== message) logger.error({ err: error }, `the embedded log ${what}: ${message}`);
    diskFault = message;
  }

  async function append(): Promise<void> {
    const { batch, settle } = queue.take(now(), roomBytes());
    try {
      const write = (positions: Position[]) => writer.write({ type: 'append', batch, positions });
      take((await (saveDue ? withUnsaved(write) : write([]))).state);
    } catch (error) {
      failed(error, 'refused messages');
      return settle(new Error(`not logged: ${diskFault}`, { cause: error }));
    }
    settle(null);
  }

  async function drop(): Promise<void> {
    const request = {
      floors: groups.floors(),
      beforeMs: now() - retentionMs,
      // A message larger than what lies above the high water needs more than that.
      targetBytes: Math.min(Math.floor(maxBytes * HIGH_WATER), maxBytes - queue.nextBytes()),
      budgetMs: DROP_BUDGET_MS,
    };
    const done = await withUnsaved((positions) =>
      writer.write({ type: 'drop', request, positions }),
    );
    take(done.state);
    if (!done.more) expiryDue = false;
    const floors = groups.floors();
    nothingToDrop = !done.more && floors.every((floor, i) => floor === request.floors[i]);
  }

  async function tidy(): Promise<boolean> {
    const crowded = blocked() || state.usedBytes > maxBytes * HIGH_WATER;
    const drops = expiryDue || (crowded && !nothingToDrop);
    const saves = saveDue && groups.unsaved();
    try {
      if (drops) await drop();
      else if (saves) {
        const save = (positions: Position[]) => writer.write({ type: 'save', positions });
        take((await withUnsaved(save)).state);
      }
    } catch (error) {
      failed(error, 'could not tidy up');
      // Until the next tick: a disk that refuses is not asked in a tight loop.
      expiryDue = false;
      nothingToDrop = true;
    }
    return drops || saves;
  }

  async function work(): Promise<void> {
    // The rest of this turn's messages join the first one's batch.
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (let more = true; more && !stopped; ) {
      const appends = queue.size() > 0 && !blocked();
      if (appends) await append();
      const tidied = !stopped && (await tidy());
      tellWhenFull();
      more = appends || tidied || (queue.size() > 0 && !blocked());
    }
    // In the same turn as the last look at the queue, so that no wake is lost.
    running = null;
  }

  function tellWhenFull(): void {
    if (full() === wasFull) return;
    wasFull = !wasFull;
    const figures = { usedBytes: state.usedBytes, maxBytes };
    if (wasFull) logger.warn(figures, fullReason());
    else logger.info(figures, 'the embedded log has room again');
  }

  function wake(): void {
    if (running === null && !stopped) running = work();
  }

  const ticker = setInterval(() => {
    saveDue = groups.unsaved();
    if (diskFault !== null) nothingToDrop = false;
    if (performance.now() - lastExpiryMs >= expiryIntervalMs) {
      lastExpiryMs = performance.now();
      expiryDue = true;
    }
    if (saveDue || expiryDue || diskFault !== null) wake();
  }, TICK_MS);
  ticker.unref();

  return {
    wake,
    retryDrop() {
      nothingToDrop = false;
      if (blocked()) wake();
    },
    fault() {
      if (diskFault !== null) return `the embedded log refuses messages: ${diskFault}`;
      return full() ? fullReason() : null;
    },
    async stop() {
      stopped = true;
      clearInterval(ticker);
      await running;
    },
  };
}

/** 1536 -> "1.5 KiB". */
function formatBytes(bytes: number): string {
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}
