import type { PartitionReader } from '../domain/log.ts';
import type { AlertEventTail } from '../store/alert-event-tail.ts';
import type { Batch } from './batch.ts';
import type { KnownStates } from './known-states.ts';
import { type Measures, measureBatch } from './measures.ts';
import type { ReadingFeed } from './reading-feed.ts';
import type { IngestCounters } from './status.ts';
import type { Tracer } from './tracer.ts';

/** Hears of dead letters when they are committed, and copies them elsewhere at its own pace. */
export interface DeadLetterSink {
  poke(partition: number): void;
}

/** What follows the transaction: only now may anybody hear of the batch. */
export async function commitBatch(
  deps: {
    reader: PartitionReader;
    states: Pick<KnownStates, 'committed'>;
    counters: IngestCounters;
    measures: Measures;
    tracer?: Pick<Tracer, 'stored'> | undefined;
    feed: ReadingFeed;
    tail: Pick<AlertEventTail, 'committed'>;
    deadLetters?: DeadLetterSink | undefined;
  },
  batch: Batch,
  /** Before the batch: what is at or below it was heard of long ago. */
  watermark: number,
): Promise<void> {
  deps.states.committed(batch);
  count(deps.counters, batch);
  measureBatch(deps.measures, batch);
  if (batch.followed.length > 0) deps.tracer?.stored(batch, deps.reader.partition);
  deps.tail.committed(batch.written?.events ?? []);
  if (batch.deadLetters.length > 0) deps.deadLetters?.poke(deps.reader.partition);
  const live = batch.replay
    ? batch.readings.filter((row) => row.offset > watermark)
    : batch.readings;
  deps.feed.publish(live.map((row) => row.reading));
  if (batch.lastOffset < 0) return;
  await deps.reader.commit(batch.lastOffset + 1).catch((error) => {
    // The last batch of a partition that is another's by now: the watermark tells them of it.
    if (!deps.reader.signal.aborted) throw error;
  });
}

const KINDS = ['live', 'late', 'replay', 'future'] as const;

function count(counters: IngestCounters, batch: Batch): void {
  counters.batches++;
  counters.records += batch.records;
  counters.transitions += batch.transitions.length;
  counters.deadLetters += batch.deadLetters.length;
  for (const kind of KINDS) counters[kind] += batch.kinds[kind];
}
