import { type Client, createClient } from 'graphql-ws';
import type { Variables } from './api.ts';

/** GraphQL over WebSocket: subscriptions that are taken up again when the connection breaks. */
export interface Stream {
  /**
   * Follows a subscription until close(). `variables` is asked before every attempt, so that it
   * can begin where the last one ended.
   */
  follow<T>(options: {
    document: string;
    variables: () => Variables;
    onData: (data: T) => void;
  }): void;
  readonly reconnects: number;
  /** What the server last answered instead of data; null when all is well. */
  readonly fault: string | null;
  close(): Promise<void>;
}

const KEEP_ALIVE_MS = 10_000;
const PONG_DEADLINE_MS = 5_000;
const WAIT_MS = 300;

export function createStream({ url }: { url: string }): Stream {
  const client = connect(url.replace(/^http/, 'ws'));
  const running = new Set<Promise<void>>();
  const cancels = new Set<() => void>();
  let reconnects = -1;
  let fault: string | null = null;
  let closed = false;
  client.on('connected', () => {
    reconnects++;
  });

  type Options<T> = Parameters<typeof follow<T>>[0];

  /** One attempt; ends with the connection, or when the server ends the subscription. */
  async function attempt<T>({ document, variables, onData }: Options<T>): Promise<void> {
    const ended = Promise.withResolvers<void>();
    const cancel = client.subscribe<T>(
      { query: document, variables: variables() },
      {
        next: ({ data, errors }) => {
          if (errors?.[0]) fault = errors[0].message;
          if (data) onData(data);
        },
        error: (error) => {
          fault = Array.isArray(error) ? String(error[0]?.message) : null;
          ended.resolve();
        },
        complete: () => ended.resolve(),
      },
    );
    cancels.add(cancel);
    await ended.promise;
    cancels.delete(cancel);
  }

  function follow<T>(options: {
    document: string;
    variables: () => Variables;
    onData: (data: T) => void;
  }): void {
    const task = (async () => {
      while (!closed) {
        await attempt(options);
        if (!closed) await Bun.sleep(WAIT_MS);
      }
    })();
    running.add(task);
  }

  return {
    follow,
    get reconnects() {
      return Math.max(0, reconnects);
    },
    get fault() {
      return fault;
    },
    async close() {
      closed = true;
      for (const cancel of cancels) cancel();
      await client.dispose();
      await Promise.race([Promise.all(running), Bun.sleep(2 * WAIT_MS)]);
    },
  };
}

/** Resuming is ours, since graphql-ws would begin again with the variables of the first time. */
function connect(url: string): Client {
  let pongTimer: ReturnType<typeof setTimeout> | undefined;
  const client = createClient({
    url,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    keepAlive: KEEP_ALIVE_MS,
    on: {
      ping: (received) => {
        if (!received) pongTimer = setTimeout(() => client.terminate(), PONG_DEADLINE_MS);
      },
      pong: (received) => {
        if (received) clearTimeout(pongTimer);
      },
      closed: () => clearTimeout(pongTimer),
    },
  });
  return client;
}
