import { effect, signal } from '@preact/signals';
import { createClient } from 'graphql-ws';
import { ApiError, authorization, signInReason } from './api.ts';

/** Whether events arrive; `since` is when that began, epoch ms. */
export const connection = signal<{ state: 'connecting' | 'live' | 'lost'; since: number }>({
  state: 'connecting',
  since: Date.now(),
});
/** Grows with each connection after the first: what may have been missed is read again. */
export const reconnections = signal(0);

const RETRY_MS = [250, 500, 1_000, 2_000];
const NORMAL = 1000;
const UNAUTHORIZED = 4401;
const EXPIRED = 4403;

const client = createClient({
  url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/graphql`,
  connectionParams: () => authorization(),
  retryAttempts: Number.POSITIVE_INFINITY,
  shouldRetry: () => signInReason.value === null,
  // A server that vanished without a word is noticed within 15 s.
  keepAlive: 10_000,
  lazyCloseTimeout: 10_000,
  connectionAckWaitTimeout: 5_000,
  retryWait: (retries) =>
    new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(retries, 3)])),
  on: {
    connected: (_socket, _payload, wasRetry) => {
      connection.value = { state: 'live', since: Date.now() };
      if (wasRetry) reconnections.value++;
    },
    closed: (event) => {
      const { code, reason } = event as CloseEvent;
      if (code === UNAUTHORIZED || code === EXPIRED) signInReason.value = reason || 'signed out';
      // Closed by ourselves, as nothing was followed for a while.
      const state = code === NORMAL ? 'connecting' : 'lost';
      if (connection.value.state !== state) connection.value = { state, since: Date.now() };
    },
  },
});

export interface Follower<T> {
  next: (data: T) => void;
  /** It ended with a refusal; a lost connection is none. */
  fail?: (error: ApiError) => void;
}

/**
 * Follows a subscription through every reconnection, until the returned function is called.
 * `variables` are read at each new start, so that whoever changes them in `next` resumes there.
 */
export function follow<T>(
  query: string,
  variables: Record<string, unknown>,
  { next, fail }: Follower<T>,
): () => void {
  const refused = (errors: readonly { message: string; extensions?: Record<string, unknown> }[]) =>
    fail?.(new ApiError(errors[0]?.message ?? 'ended', errors[0]?.extensions ?? {}));
  return client.subscribe<T>(
    { query, variables },
    {
      next: ({ data, errors }) => {
        if (errors) refused(errors);
        else if (data != null) next(data);
      },
      error: (error) => {
        if (Array.isArray(error)) refused(error);
      },
      complete: () => {},
    },
  );
}

/** Runs at once, each `ms` while the page is seen, and when the connection is back. */
export function poll(run: () => Promise<void>, ms: number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isDone = false;
  const turn = async () => {
    clearTimeout(timer);
    if (!document.hidden && signInReason.value === null) await run().catch(() => {});
    clearTimeout(timer);
    if (!isDone) timer = setTimeout(() => void turn(), ms);
  };
  const wake = () => {
    if (!document.hidden) void turn();
  };
  document.addEventListener('visibilitychange', wake);
  const leave = effect(() => {
    reconnections.value;
    queueMicrotask(() => {
      if (!isDone) void turn();
    });
  });
  return () => {
    isDone = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', wake);
    leave();
  };
}
