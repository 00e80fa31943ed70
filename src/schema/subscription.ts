import type { GraphQLError } from 'graphql';
import { atTime } from './at-time.ts';
import type { Context } from './context.ts';
import { publicError, tokenExpired } from './errors.ts';

/** Events of a subscription, in order, or why it ends: the last thing that the subscriber gets. */
export type Deliveries<T> = { events: readonly T[] } | { error: GraphQLError };

/** One of them, as a resolver gets it. */
export type Delivery<T> = { event: T } | { error: GraphQLError };

/**
 * A source that ends at once when the subscriber leaves, also while it waits: return() of a plain
 * generator would hang behind the pending next(). An error becomes the last delivery, so that the
 * subscriber learns its code; thrown, it would close the socket of all their other operations. So
 * does the end of the subscriber's token.
 *
 * @throws UNAVAILABLE where too many event streams are open
 */
export function deliveries<T>(
  context: Context,
  run: (signal: AbortSignal) => AsyncIterableIterator<readonly T[]>,
): AsyncIterableIterator<Delivery<T>> {
  const { expiresAtMs, streams } = context.door;
  streams?.take();
  const left = new AbortController();
  let expired = false;
  const stopClock = atTime(expiresAtMs, () => {
    expired = true;
    left.abort();
  });
  const source = run(left.signal);
  context.subscriptions.open++;
  let over = false;
  let isReleased = false;
  const release = () => {
    stopClock();
    if (isReleased) return;
    isReleased = true;
    streams?.giveBack();
    context.subscriptions.open--;
  };
  const end = async (): Promise<IteratorResult<Deliveries<T>>> => {
    over = true;
    release();
    left.abort();
    await source.return?.();
    return { done: true, value: undefined };
  };
  const last = (error: GraphQLError): IteratorResult<Deliveries<T>> => {
    over = true;
    release();
    return { done: false, value: { error } };
  };
  const pages: AsyncIterableIterator<Deliveries<T>> = {
    async next() {
      if (over) return await end();
      try {
        const result = await source.next();
        if (expired && !over) return last(tokenExpired());
        if (result.done) return await end();
        return { done: false, value: { events: result.value } };
      } catch (error) {
        return last(expired ? tokenExpired() : publicError(error, context));
      }
    },
    return: end,
    throw: end,
    [Symbol.asyncIterator]: () => pages,
  };
  // shared-results.ts takes them apart: a resolver gets one event.
  return pages as AsyncIterableIterator<never>;
}

/** Resolves a delivery. */
export function delivered<T>(delivery: Delivery<T>): T {
  if ('error' in delivery) throw delivery.error;
  return delivery.event;
}
