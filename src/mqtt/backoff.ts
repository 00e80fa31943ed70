export interface BackoffOptions {
  /** The first wait; default 100. */
  firstMs?: number;
  /** The longest wait; default 10,000. */
  maxMs?: number;
}

export interface Backoff {
  /** Waits twice as long as the last time, less up to a half by chance; ends early on abort. */
  wait(signal: AbortSignal): Promise<void>;
  reset(): void;
}

export function createBackoff({ firstMs = 100, maxMs = 10_000 }: BackoffOptions = {}): Backoff {
  let nextMs = firstMs;
  return {
    async wait(signal) {
      // By chance, so that many clients don't come back to a restarted broker all at once.
      const waitMs = nextMs * (0.5 + Math.random() / 2);
      nextMs = Math.min(nextMs * 2, maxMs);
      if (signal.aborted) return;
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', done);
          resolve();
        };
        const timer = setTimeout(done, waitMs);
        signal.addEventListener('abort', done);
      });
    },
    reset() {
      nextMs = firstMs;
    },
  };
}
