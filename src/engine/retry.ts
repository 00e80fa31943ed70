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
export function withDeadline<T>(
  work: Promise<T>,
  ms: number,
  what: string,
  abandon?: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = (why: string) => {
      end();
      reject(new DeadlineError(`${what} ${why}`));
    };
    const abandoned = () => giveUp('was given up');
    const timer = setTimeout(() => giveUp(`took over ${ms} ms`), ms);
    // By hand, as a controller for each wait is the costliest part of a small one.
    const end = () => {
      clearTimeout(timer);
      abandon?.removeEventListener('abort', abandoned);
    };
    work.then(
      (value) => {
        end();
        resolve(value);
      },
      (error: unknown) => {
        end();
        reject(error);
      },
    );
    // Behind what is done already.
    if (abandon?.aborted) queueMicrotask(abandoned);
    else abandon?.addEventListener('abort', abandoned);
  });
}
