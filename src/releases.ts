import type { Logger } from 'pino';

/** How the parts that were started are stopped again, the last one first. */
export interface Releases {
  /** @param withinMs after which the next part is stopped none the less; default 3 s */
  add(part: string, stop: () => Promise<void> | void, withinMs?: number): void;
  /** Never rejects, and ends: what fails or takes too long is logged. A second call waits too. */
  releaseAll(): Promise<void>;
}

const WITHIN_MS = 3_000;

export function createReleases(logger: Pick<Logger, 'warn' | 'error'>): Releases {
  const stack: { part: string; stop: () => Promise<void> | void; withinMs: number }[] = [];
  let releasing: Promise<void> = Promise.resolve();

  async function releaseRest(): Promise<void> {
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const { part, stop, withinMs } = next;
      const late = Promise.withResolvers<'late'>();
      const timer = setTimeout(() => late.resolve('late'), withinMs);
      try {
        const how = await Promise.race([stop(), late.promise]);
        if (how === 'late') logger.warn({ part, withinMs }, `${part}: did not stop in time, left`);
      } catch (error) {
        logger.error({ err: error, part }, `${part}: did not stop cleanly`);
      } finally {
        clearTimeout(timer);
      }
    }
  }

  return {
    add(part, stop, withinMs = WITHIN_MS) {
      stack.push({ part, stop, withinMs });
    },
    releaseAll() {
      releasing = releasing.then(releaseRest);
      return releasing;
    },
  };
}
