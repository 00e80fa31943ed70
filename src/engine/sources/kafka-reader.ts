import type { EachBatchPayload, KafkaMessage } from 'kafkajs';
import { type LogRecord, type PartitionReader, PositionLost } from '../../domain/log.ts';
import { parseTraceparent } from '../../domain/trace-context.ts';
import type { OffsetCommits } from './kafka-commits.ts';

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
  /** Offsets up to `next` held no record for us: transaction markers, aborted records. */
  skipTo(next: number): void;
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

/** A record in memory is more than its bytes. */
const RECORD_OVERHEAD_BYTES = 200;

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
  let records: LogRecord[] = [];
  let head = 0;
  let bytes = 0;
  /** Where the next fetch has to begin; null until that is known. */
  let next: number | null = null;
  let fetching = false;
  let lost: string | null = null;
  let revoked = false;
  let end = 0;
  let wake: (() => void) | null = null;

  function clear(): void {
    records = [];
    head = 0;
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
    for (const message of batch.messages) {
      const record = toRecord(message);
      records.push(record);
      bytes += record.value.length + RECORD_OVERHEAD_BYTES;
    }
    if (records.length - head >= limits.maxRecords || bytes >= limits.maxBytes) setFetching(false);
    wake?.();
  }

  function take(maxRecords: number): LogRecord[] {
    const taken = records.slice(head, head + maxRecords);
    head += taken.length;
    for (const { value } of taken) bytes -= value.length + RECORD_OVERHEAD_BYTES;
    if (head >= records.length) clear();
    const left = records.length - head;
    if (left <= limits.maxRecords / 2 && bytes <= limits.maxBytes / 2) setFetching(true);
    // What was read is let go of, without moving the rest at each read.
    if (head > 10_000) {
      records = records.slice(head);
      head = 0;
    }
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
      fetch.seek(partition, offset);
      setFetching(!signal.aborted);
    },
    position: () => records[head]?.offset ?? next ?? 0,
    async read(maxRecords, waitMs) {
      if (lost === null && !signal.aborted) {
        if (records.length === 0) setFetching(true);
        if (records.length === 0 && waitMs > 0) await untilFetched(waitMs);
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
    skipTo(offset) {
      if (next !== null && offset > next) next = offset;
      end = Math.max(end, offset);
    },
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

/** Kafka's timestamp is the arrival: the log's own clock where the topic has LogAppendTime. */
function toRecord(message: KafkaMessage): LogRecord {
  const { key, value, headers } = message;
  const header = headers?.topic;
  const topic = Array.isArray(header) ? header[0] : header;
  const timestamp = Number(message.timestamp);
  return {
    offset: Number(message.offset),
    arrivalMs: timestamp >= 0 ? timestamp : Date.now(),
    key: key === null || key === undefined ? null : key.toString(),
    topic: topic === undefined ? null : topic.toString(),
    // A tombstone has no value: it becomes a dead letter like any other empty payload.
    value: value ?? new Uint8Array(),
    traceparent: headers?.traceparent && sampled(headers.traceparent.toString()),
  };
}

/** Anybody may have written it. */
function sampled(traceparent: string): string | null {
  return parseTraceparent(traceparent) === null ? null : traceparent;
}
