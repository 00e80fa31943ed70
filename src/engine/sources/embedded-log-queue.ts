import type { LogMessage } from '../../domain/log.ts';
import type { Batch } from './embedded-log-file.ts';
import { partitionOf } from './partitioner.ts';

const MAX_RECORDS = 1_000;
const MAX_BYTES = 2 ** 20;
/** A record's other columns and its share of a page's free end. */
const OVERHEAD_BYTES = 32;
const PAGE_BYTES = 4_096;

interface Waiting {
  message: LogMessage;
  bytes: number;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** The messages that wait to be written, in order; the batch policy is here, the timing is not. */
export interface AppendQueue {
  size(): number;
  /** Resolves or rejects as the batch with the message settles. */
  add(message: LogMessage): Promise<void>;
  /** What the first message takes in the file, about; 0 when none waits. */
  nextBytes(): number;
  /**
   * The next batch: 1,000 messages, 1 MiB or `roomBytes`, whichever comes first, but at least one.
   * `settle` is to be called once: with null when it is durable, else with why it is not.
   */
  take(nowMs: number, roomBytes: number): { batch: Batch; settle: (error: Error | null) => void };
  rejectAll(error: Error): void;
}

export function createAppendQueue(partitions: number): AppendQueue {
  let waiting: Waiting[] = [];

  return {
    size: () => waiting.length,
    add(message) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const { topic, key, value } = message;
      const own = topic.length + (key?.length ?? 0) + value.length + OVERHEAD_BYTES;
      // A large record takes whole pages, and a small one's share is about its length.
      const bytes = own < PAGE_BYTES / 4 ? own : Math.ceil(own / PAGE_BYTES + 0.5) * PAGE_BYTES;
      waiting.push({ message, bytes, resolve, reject });
      return promise;
    },
    nextBytes: () => waiting[0]?.bytes ?? 0,
    take(nowMs, roomBytes) {
      const limit = Math.min(MAX_BYTES, roomBytes);
      let bytes = 0;
      let count = 0;
      for (const entry of waiting) {
        bytes += entry.bytes;
        if (count === MAX_RECORDS || (count > 0 && bytes > limit)) break;
        count++;
      }
      const taken = waiting.slice(0, count);
      waiting = waiting.slice(count);
      return {
        batch: pack(taken, partitions, nowMs),
        settle(error) {
          for (const entry of taken) error ? entry.reject(error) : entry.resolve();
        },
      };
    },
    rejectAll(error) {
      for (const entry of waiting.splice(0)) entry.reject(error);
    },
  };
}

function pack(entries: Waiting[], partitions: number, nowMs: number): Batch {
  const total = entries.reduce((sum, { message }) => sum + message.value.length, 0);
  const values = new Uint8Array(total);
  const valueEnds: number[] = [];
  const traceparents = new Map<number, string>();
  let end = 0;
  for (const [index, { message }] of entries.entries()) {
    if (message.traceparent) traceparents.set(index, message.traceparent);
    values.set(message.value, end);
    end += message.value.length;
    valueEnds.push(end);
  }
  return {
    nowMs,
    // Without a key the topic decides, which keeps a topic's messages in order.
    partitions: entries.map(
      ({ message }) => message.partition ?? partitionOf(message.key ?? message.topic, partitions),
    ),
    topics: entries.map(({ message }) => message.topic),
    keys: entries.map(({ message }) => message.key),
    values,
    valueEnds,
    traceparents,
  };
}
