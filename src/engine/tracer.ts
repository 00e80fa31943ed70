import type { AlertEvent } from '../domain/alert.ts';
import type { LogAppender } from '../domain/log.ts';
import type { Batch } from './batch.ts';

/**
 * Follows sampled messages from their publish to their alerts. Where nobody collects traces there is
 * none, and nothing but a look at a record's trace context is left of it.
 */
export interface Tracer {
  /** The appender, but that it begins a trace for a sampled message and sends its context along. */
  appender(inner: LogAppender): LogAppender;
  /** A batch that holds followed records is committed. */
  stored(batch: Batch, partition: number): void;
  /** Publishes a transition that a followed reading has brought about. */
  sending(event: AlertEvent, topic: string, publish: () => Promise<void>): Promise<void>;
  /** Such a transition goes to a subscriber. */
  delivered(event: AlertEvent): void;
}
