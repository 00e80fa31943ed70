import { Database } from 'bun:sqlite';
import type { Logger } from 'pino';
import type { LogAppender, LogHealth, LogRecord } from '../../domain/log.ts';
import type { Bounds, LogFileState, Position } from './embedded-log-file.ts';
import { createGroups } from './embedded-log-groups.ts';
import { createWriteLoop } from './embedded-log-loop.ts';
import { createAppendQueue } from './embedded-log-queue.ts';
import { startLogWriter } from './embedded-log-writer.ts';

export interface EmbeddedLogOptions {
  file: string;
  topic: string;
  /** A file that has fewer grows; one that has more keeps them, with a warning. */
  partitions: number;
  /** Stored records older than this go. Default 7 days. */
  retentionMs?: number;
  /** Past 90 % of it the oldest stored records go. At least 1 MiB; default 1 GiB. */
  maxBytes?: number;
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Epoch ms, the arrival time of what is appended. */
  now?: () => number;
}

export interface LogStats {
  /** Bytes in use in the file; its write-ahead log (up to 16 MiB) comes on top. */
  usedBytes: number;
  maxBytes: number;
  /** Messages made durable since the log was opened. */
  appended: number;
  /** Messages that wait for the disk or for room. */
  queued: number;
  /** `committed`: what every group in use has committed; null where one has nothing yet. */
  partitions: (Bounds & { partition: number; committed: number | null })[];
}

/** A partitioned log in one SQLite file. A batch is durable (fsync) before its appends resolve. */
export interface EmbeddedLog extends LogAppender {
  readonly logId: string;
  readonly topic: string;
  readonly partitions: number;
  /** One sentence for /readyz while the log is full or its disk refuses. */
  health(): LogHealth;
  stats(): LogStats;
  bounds(partition: number): Bounds;
  /** The durable records from `from` on: at most `maxRecords`, and some 4 MiB, but at least one. */
  read(partition: number, from: number, maxRecords: number): LogRecord[];
  /** Calls back after each append to the partition. @returns how to stop it */
  onAppend(partition: number, listener: () => void): () => void;
  /** Keeps what the group has not committed; before a group is attached nothing is dropped. */
  attach(groupId: string): () => void;
  committed(groupId: string, partition: number): number | null;
  /**
   * In memory at once, on disk within some seconds and at close: a lost commit only makes records
   * be read again, and the watermark in Postgres says which.
   */
  commit(position: Position): void;
  /** Finishes the batch being written, rejects the appends behind it, saves the commits. */
  close(): Promise<void>;
}

const WEEK_MS = 7 * 86_400_000;
const MIN_BYTES = 2 ** 20;
const CLOSING = 'not logged: the embedded log is closing';
const READ_BYTES = 4 * 2 ** 20;

/**
 * Opens the log, and makes it at the first start.
 *
 * The file is written by a thread of its own and read on this one, so that fsync stalls nobody
 * else. Measured with 100-byte messages in 4 partitions on 2 cores and a shared disk (fsync 0.3 ms,
 * stalls of up to 0.5 s now and then; median of 3 runs on it when quiet):
 *
 * | load    | writer      | msg/s | append p50, p99 | event loop p99 delay |
 * |---------|-------------|-------|-----------------|----------------------|
 * | 200/s   | this thread |   200 |  1.0,   1.8 ms  |  0.6 ms              |
 * |         | own thread  |   200 |  1.1,   2.1 ms  |  0.2 ms              |
 * | 5,000/s | this thread | 5,000 |  0.9,   2.1 ms  |  0.6 ms              |
 * |         | own thread  | 5,000 |  0.9,   2.1 ms  |  0.4 ms              |
 * | flat    | this thread |  413k |  8.3,  40   ms  | 26   ms              |
 * | out     | own thread  |  242k | 15.6,  72   ms  |  3.7 ms              |
 *
 * What decides are the stalls: they stopped this thread for as long as they took (103 ms at 200/s,
 * 515 ms at 5,000/s), and with a thread of its own for 11 ms at most at these loads.
 *
 * @throws StartError when the file can't be used
 */
export async function openEmbeddedLog(options: EmbeddedLogOptions): Promise<EmbeddedLog> {
  const { file, topic, logger, now = Date.now, retentionMs = WEEK_MS } = options;
  const maxBytes = Math.max(options.maxBytes ?? 2 ** 30, MIN_BYTES);
  const writer = startLogWriter();
  const opened = await writer.open({ type: 'open', file, topic, partitions: options.partitions });
  const reader = new Database(file, { readonly: true });
  reader.run('PRAGMA busy_timeout = 5000');

  const { bounds } = opened.state;
  const partitions = bounds.length;
  if (partitions > options.partitions) {
    logger.warn(
      { partitions, asked: options.partitions },
      `the log ${file} keeps its ${partitions} partitions: a log never has fewer than before`,
    );
  }
  let state = opened.state;
  let appended = 0;
  let closing: Promise<void> | null = null;
  const listeners = Array.from({ length: partitions }, () => new Set<() => void>());
  const groups = createGroups(opened.positions, partitions);
  const queue = createAppendQueue(partitions);
  const loop = createWriteLoop(
    { writer, queue, groups },
    { initial: state, maxBytes, retentionMs, now, logger, onState },
  );
  const selects = bounds.map((_, partition) =>
    reader.query<LogRecord, [number, number, number]>(
      `SELECT offset, arrival_ms AS arrivalMs, key, nullif(topic, '') AS topic, value,
         traceparent FROM records_${partition}
       WHERE offset >= ? AND offset < ? ORDER BY offset LIMIT ?`,
    ),
  );

  function onState(next: LogFileState): void {
    const before = state;
    state = next;
    next.bounds.forEach(({ end }, partition) => {
      const grown = end - (before.bounds[partition]?.end ?? 0);
      if (grown === 0) return;
      appended += grown;
      for (const listener of [...(listeners[partition] ?? [])]) listener();
    });
  }
  function boundsOf(partition: number): Bounds {
    const found = state.bounds[partition];
    if (!found) throw new RangeError(`the log has no partition ${partition}, only ${partitions}`);
    return found;
  }

  return {
    logId: opened.logId,
    topic,
    partitions,
    append(message) {
      if (closing) return Promise.reject(new Error(CLOSING));
      if ((message.partition ?? 0) >= partitions) {
        return Promise.reject(new RangeError(`the log has no partition ${message.partition}`));
      }
      const durable = queue.add(message);
      loop.wake();
      return durable;
    },
    health() {
      const reason = closing ? CLOSING : loop.fault();
      return reason === null ? { ok: true } : { ok: false, reason };
    },
    stats: () => ({
      usedBytes: state.usedBytes,
      maxBytes,
      appended,
      queued: queue.size(),
      partitions: state.bounds.map((bounds, partition) => ({
        partition,
        ...bounds,
        committed: groups.lowest(partition),
      })),
    }),
    bounds: boundsOf,
    read(partition, from, maxRecords) {
      const { end } = boundsOf(partition);
      const rows = selects[partition]?.iterate(from, end, maxRecords) ?? [];
      const records: LogRecord[] = [];
      let bytes = 0;
      // Not past the known end: the file may already show a batch whose answer is on its way.
      for (const record of rows) {
        records.push(record);
        bytes += record.value.length;
        if (bytes >= READ_BYTES) break;
      }
      return records;
    },
    onAppend(partition, listener) {
      listeners[partition]?.add(listener);
      return () => listeners[partition]?.delete(listener);
    },
    attach(groupId) {
      const detach = groups.attach(groupId);
      loop.retryDrop();
      return detach;
    },
    committed: (groupId, partition) => groups.committed(groupId, partition),
    commit({ groupId, partition, next }) {
      // A position past the end would let retention drop records that are yet to come.
      const position = { groupId, partition, next: Math.min(next, boundsOf(partition).end) };
      if (groups.commit(position)) loop.retryDrop();
    },
    close() {
      closing ??= shutDown();
      return closing;
    },
  };

  async function shutDown(): Promise<void> {
    await loop.stop();
    queue.rejectAll(new Error(CLOSING));
    reader.close();
    await writer.close({ type: 'close', positions: groups.takeUnsaved() });
  }
}
