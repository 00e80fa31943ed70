import type { LogMessage } from '../../domain/log.ts';

/** A message with what waits for it. */
export interface Waiting {
  message: LogMessage & { headers?: Record<string, string> };
  partition: number;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** What goes in one request: of each partition a run of messages, in order. */
export type Round = Waiting[];

export interface RoundLimits {
  /** Messages of one partition become one record batch, which the broker limits (1 MiB). */
  maxPartitionBytes: number;
  maxBytes: number;
  maxRecords: number;
}

/** The messages that wait to be sent, and which partitions have a request under way. */
export interface ProduceQueue {
  size(): number;
  add(waiting: Waiting): void;
  /** The next messages of partitions that have none under way; those are busy until `release`. */
  take(limits: RoundLimits): Round;
  release(round: Round): void;
  rejectAll(error: Error): void;
}

export function createProduceQueue(): ProduceQueue {
  const queues = new Map<number, Waiting[]>();
  const busy = new Set<number>();
  let size = 0;

  return {
    size: () => size,
    add(waiting) {
      const queue = queues.get(waiting.partition);
      if (queue === undefined) queues.set(waiting.partition, [waiting]);
      else queue.push(waiting);
      size++;
    },
    take(limits) {
      const round: Round = [];
      let bytes = 0;
      for (const [partition, queue] of queues) {
        if (busy.has(partition)) continue;
        const count = countThatFit(queue, limits.maxRecords - round.length, {
          bytes: Math.min(limits.maxPartitionBytes, limits.maxBytes - bytes),
          // One message always goes, whatever its size: the broker decides about it.
          atLeast: round.length === 0 ? 1 : 0,
        });
        if (count === 0) continue;
        for (const waiting of queue.slice(0, count)) {
          bytes += sizeOf(waiting);
          round.push(waiting);
        }
        busy.add(partition);
        // To the end of the order: partitions take turns where a round is full.
        queues.delete(partition);
        if (count < queue.length) queues.set(partition, queue.slice(count));
      }
      size -= round.length;
      return round;
    },
    release(round) {
      for (const { partition } of round) busy.delete(partition);
    },
    rejectAll(error) {
      for (const queue of queues.values()) for (const { reject } of queue) reject(error);
      queues.clear();
      size = 0;
    },
  };
}

const RECORD_OVERHEAD_BYTES = 64;

function sizeOf({ message }: Waiting): number {
  // Three bytes at the most for a UTF-16 unit.
  const text = 3 * (message.topic.length + (message.key?.length ?? 0));
  return message.value.length + text + RECORD_OVERHEAD_BYTES;
}

function countThatFit(
  queue: readonly Waiting[],
  maxRecords: number,
  limit: { bytes: number; atLeast: number },
): number {
  let bytes = 0;
  let count = 0;
  for (const waiting of queue) {
    bytes += sizeOf(waiting);
    if (count >= maxRecords || (bytes > limit.bytes && count >= limit.atLeast)) break;
    count++;
  }
  return count;
}
