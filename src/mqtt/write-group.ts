import type { Database } from 'bun:sqlite';

export interface WriteGroup {
  /** Runs a write now, in the open transaction; reads on the connection see it at once. */
  write<T>(work: () => T): T;
  /** Resolves once everything written so far is on disk; rejects when its commit failed. */
  durable(): Promise<void>;
  /** Commits now. @throws the commit's error, after a rollback */
  commit(): void;
  /** Commits and refuses further writes. */
  close(): void;
}

export interface WriteGroupOptions {
  /** Called after a rollback, when what memory knows of the tables may be wrong. */
  onRollback(error: unknown): void;
  /** How long a write that somebody waits for may lie open; default 2. */
  waitedForMs?: number;
  /** How long a write that nobody waits for may lie open; default 200. */
  idleMs?: number;
}

/** An fsync blocks the process: at most a third of its time goes into them. */
const REST_PER_COMMIT = 2;
const MAX_REST_MS = 50;

/**
 * Groups writes into transactions, so that thousands of messages a second share a few fsyncs:
 * the first write begins one, and a timer commits it.
 */
export function createWriteGroup(db: Database, options: WriteGroupOptions): WriteGroup {
  const { waitedForMs = 2, idleMs = 200, onRollback } = options;
  const begin = db.prepare('BEGIN IMMEDIATE');
  const end = db.prepare('COMMIT');
  let open = false;
  let closed = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let dueMs = Number.POSITIVE_INFINITY;
  let restUntilMs = 0;
  let group = Promise.withResolvers<void>();
  group.promise.catch(() => {});

  function schedule(delayMs: number): void {
    const nowMs = performance.now();
    const atMs = Math.max(nowMs + delayMs, restUntilMs);
    if (atMs >= dueMs) return;
    clearTimeout(timer);
    dueMs = atMs;
    timer = setTimeout(() => {
      try {
        commit();
      } catch {
        // Whoever waits has been told, and onRollback has.
      }
    }, atMs - nowMs);
  }

  function write<T>(work: () => T): T {
    if (closed) throw new Error('the MQTT session store is closed');
    if (!open) {
      begin.run();
      open = true;
      schedule(idleMs);
    }
    return work();
  }

  function durable(): Promise<void> {
    if (!open) return Promise.resolve();
    schedule(waitedForMs);
    return group.promise;
  }

  function commit(): void {
    clearTimeout(timer);
    dueMs = Number.POSITIVE_INFINITY;
    if (!open) return;
    open = false;
    const settled = group;
    group = Promise.withResolvers<void>();
    group.promise.catch(() => {});
    const startMs = performance.now();
    try {
      end.run();
    } catch (error) {
      if (db.inTransaction) db.run('ROLLBACK');
      settled.reject(error);
      onRollback(error);
      throw error;
    }
    const nowMs = performance.now();
    restUntilMs = nowMs + Math.min((nowMs - startMs) * REST_PER_COMMIT, MAX_REST_MS);
    settled.resolve();
  }

  function close(): void {
    if (closed) return;
    closed = true;
    try {
      commit();
    } finally {
      begin.finalize();
      end.finalize();
    }
  }

  return { write, durable, commit, close };
}
