import type { LogRecord, PartitionReader, Source } from '../../domain/log.ts';
import type { EmbeddedLog } from './embedded-log.ts';

/**
 * The embedded log as a source: every partition belongs to this process from the start.
 * The log stays open when the source closes: it is the app's, and the bridge writes to it.
 */
export function createEmbeddedSource(options: { log: EmbeddedLog; groupId: string }): Source {
  const { log, groupId } = options;
  const reading = new AbortController();
  let detach: (() => void) | null = null;
  let closed = false;

  return {
    logId: log.logId,
    topic: log.topic,
    partitions: async () => log.partitions,
    async start(onAssigned) {
      if (detach || closed) throw new Error('the source was already started');
      detach = log.attach(groupId);
      for (let partition = 0; partition < log.partitions; partition++) {
        onAssigned(
          createReader({ log, groupId, partition, signal: reading.signal, isClosed: () => closed }),
        );
      }
    },
    async pause() {
      reading.abort();
    },
    async close() {
      reading.abort();
      closed = true;
      detach?.();
      detach = null;
    },
  };
}

function createReader(options: {
  log: EmbeddedLog;
  groupId: string;
  partition: number;
  signal: AbortSignal;
  isClosed: () => boolean;
}): PartitionReader {
  const { log, groupId, partition, signal, isClosed } = options;
  let position = log.committed(groupId, partition) ?? log.bounds(partition).earliest;

  return {
    partition,
    signal,
    committed: async () => log.committed(groupId, partition),
    range: async () => ({ ...log.bounds(partition) }),
    end: () => log.bounds(partition).end,
    seek(offset) {
      position = offset;
    },
    position: () => position,
    async read(maxRecords, waitMs) {
      if (position >= log.bounds(partition).end) await untilAppended(position, waitMs);
      if (signal.aborted) return [];
      const records: LogRecord[] = log.read(partition, position, maxRecords);
      const last = records.at(-1);
      if (last) position = last.offset + 1;
      return records;
    },
    async commit(next) {
      if (isClosed()) throw new Error(`partition ${partition}: the source is closed`);
      log.commit({ groupId, partition, next });
    },
  };

  /** Until the partition reaches past `offset`, the time is up, or the reader is stopped. */
  function untilAppended(offset: number, waitMs: number): Promise<void> {
    if (signal.aborted || waitMs <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        stopListening();
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      signal.addEventListener('abort', done);
      const stopListening = log.onAppend(partition, () => {
        if (log.bounds(partition).end > offset) done();
      });
    });
  }
}
