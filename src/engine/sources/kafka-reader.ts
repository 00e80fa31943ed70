import type { EachBatchPayload } from 'kafkajs';
import { type LogRecord, type PartitionReader, PositionLost } from '../../domain/log.ts';
import type { OffsetCommits } from './kafka-commits.ts';
import type { RunMessage } from './kafka-fetch.ts';
import type { RecordRun } from './kafka-record-run.ts';

type KafkaBatch = EachBatchPayload['batch'];

/** The consumer as one partition sees it. Each does nothing while there is none. */
export interface PartitionFetch {
  seek(partition: number, offset: number): void;
  pause(partition: number): void;
  resume(partition: number): void;
}

/** A partition's reader with what the source tells it. */
export interface KafkaReader extends PartitionReader {
  /** Takes what was fetched. */
  push(batch: KafkaBatch): void;
  /** The consumer joined the group again and has forgotten where it was. */
  rejoined(): void;
  /** Ends reading; with `revoked`, commits too. */
  close(how: 'paused' | 'revoked'): void;
}

/** Past one of these the partition is no longer fetched, until half of it is read. */
export interface BufferLimits {
  maxRecords: number;
  maxBytes: number;
}

/**
 * What was fetched of one partition and not read yet. Fetching begins with the first seek or read,
 * and stops while the buffer is full; nothing here ever makes the consumer wait, so it goes on
 * sending heartbeats however long the lane works on a batch.
 */
export function createKafkaReader(
  deps: {
    fetch: PartitionFetch;
    commits: OffsetCommits;
    committed: (partition: number) => Promise<number | null>;
    range: (partition: number) => Promise<{ earliest: number; end: number }>;
  },
  options: { partition: number; limits: BufferLimits },
): KafkaReader {
  const { fetch, commits } = deps;
  const { partition, limits } = options;
  const reading = new AbortController();
  const { signal } = reading;
  const runs: RecordRun[] = [];
  /** That they may hold. */
  let records = 0;
  let bytes = 0;
  /** Behind the last record read. */
  let readTo = 0;
  /** Where the next fetch has to begin; null until that is known. */
  let next: number | null = null;
  let fetching = false;
  let lost: string | null = null;
  let revoked = false;
  let end = 0;
  let wake: (() => void) | null = null;

  function clear(): void {
    runs.length = 0;
    records = 0;
    bytes = 0;
  }

  function setFetching(wanted: boolean): void {
    if (fetching === wanted) return;
    fetching = wanted;
    if (wanted) fetch.resume(partition);
    else fetch.pause(partition);
  }

  function lose(why: string): void {
    clear();
    lost = why;
    setFetching(false);
    wake?.();
  }

  function push(batch: KafkaBatch): void {
    if (lost !== null || signal.aborted) return;
    const from = Number((batch as KafkaBatch & { fetchedOffset: string }).fetchedOffset);
    // kafkajs goes to the earliest record by itself when the broker no longer has the offset.
    if (next !== null && from !== next) {
      lose(`offset ${next} is no longer in the log, it goes on at ${from}`);
      return;
    }
    next = Number(batch.lastOffset()) + 1;
    end = Math.max(end, Number(batch.highWatermark), next);
    const [message] = batch.messages as unknown as RunMessage[];
    if (message === undefined || message.run.records === 0) return;
    const { run } = message;
    // A broker sends whole record batches: the first may begin before the offset asked for.
    run.skipTo(from);
    runs.push(run);
    records += run.records;
    bytes += run.bytes;
    if (records >= limits.maxRecords || bytes >= limits.maxBytes) setFetching(false);
    wake?.();
  }

  function take(maxRecords: number): LogRecord[] {
    const taken: LogRecord[] = [];
    for (let run = runs[0]; run !== undefined; run = runs[0]) {
      records -= run.records;
      const hasMore = run.read(taken, maxRecords - taken.length);
      records += run.records;
      if (hasMore) break;
      runs.shift();
      bytes -= run.bytes;
    }
    readTo = (taken.at(-1)?.offset ?? readTo - 1) + 1;
    if (records <= limits.maxRecords / 2 && bytes <= limits.maxBytes / 2) setFetching(true);
    return taken;
  }

  function untilFetched(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        wake = null;
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      wake = done;
    });
  }

  return {
    partition,
    signal,
    async committed() {
      const committed = await deps.committed(partition);
      if (committed !== null) commits.learn(partition, committed);
      return commits.known(partition);
    },
    async range() {
      const range = await deps.range(partition);
      end = range.end;
      // Of a topic that was deleted and made again.
      if ((commits.known(partition) ?? 0) > end) commits.forget(partition);
      return range;
    },
    end: () => end,
    seek(offset) {
      clear();
      lost = null;
      next = offset;
      readTo = offset;
      fetch.seek(partition, offset);
      setFetching(!signal.aborted);
    },
    position: () => (runs.length > 0 ? readTo : (next ?? 0)),
    async read(maxRecords, waitMs) {
      if (lost === null && !signal.aborted) {
        if (runs.length === 0) setFetching(true);
        if (runs.length === 0 && waitMs > 0) await untilFetched(waitMs);
      }
      if (signal.aborted) return [];
      if (lost !== null) throw new PositionLost(`partition ${partition}: ${lost}`);
      return take(maxRecords);
    },
    async commit(offset) {
      if (revoked) throw new Error(`partition ${partition} is no longer read here`);
      commits.commit(partition, offset);
    },
    push,
    rejoined() {
      // The new membership begins paused.
      fetching = false;
      lose('the consumer joined its group again');
    },
    close(how) {
      revoked ||= how === 'revoked';
      clear();
      setFetching(false);
      reading.abort();
      wake?.();
    },
  };
}
