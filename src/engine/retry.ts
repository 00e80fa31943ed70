/** Waiting, with an end to every wait. */

/** What comes back is noticed within a second; a try each second is nothing to a server. */
const LONGEST_PAUSE_MS = 1_000;

/** The delay before a retry: 100 ms doubling up to 1 s, with jitter so that replicas spread out. */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  const full = Math.min(LONGEST_PAUSE_MS, 100 * 2 ** Math.min(attempt, 10));
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

/** Gives up waiting after `ms`, or when told to; what was waited for goes on and is ignored. */
export async function withDeadline<T>(
  work: Promise<T>,
  ms: number,
  what: string,
  abandon?: AbortSignal,
): Promise<T> {
  const ended = new AbortController();
  const late = new Promise<never>((_, reject) => {
    const giveUp = (why: string) => reject(new DeadlineError(`${what} ${why}`));
    const timer = setTimeout(() => giveUp(`took over ${ms} ms`), ms);
    ended.signal.addEventListener('abort', () => clearTimeout(timer));
    if (abandon?.aborted) giveUp('was given up');
    abandon?.addEventListener('abort', () => giveUp('was given up'), { signal: ended.signal });
  });
  work.catch(() => {});
  late.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    ended.abort();
  }
}
