/** Waiting, with an end to every wait. */

/** The delay before a retry: 100 ms doubling up to 5 s, with jitter so that replicas spread out. */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  const full = Math.min(5_000, 100 * 2 ** Math.min(attempt, 10));
  return full / 2 + (full / 2) * random();
}

/** Sleeps, or returns at once when the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}

export class DeadlineError extends Error {
  readonly code = 'DEADLINE';
}

/** Gives up waiting after `ms`; what was waited for goes on and is ignored. */
export async function withDeadline<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineError(`${what} took over ${ms} ms`)), ms);
  });
  work.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
