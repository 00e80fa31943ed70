/** Something that must come to rest before the verdict. */
export interface Check {
  name: string;
  /** How much is still missing; 0 at rest; null where nobody knows. An error is a null. */
  pending(): Promise<number | null> | number | null;
}

const POLL_MS = 500;

/**
 * Waits until every check is at rest at the same time, or the deadline. Gives the names of those
 * that never were: what is wrong with them is for the verdict to say.
 */
export async function settle(options: {
  checks: readonly Check[];
  timeoutMs: number;
  onWaiting: (text: string) => void;
}): Promise<string[]> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    const waiting: string[] = [];
    for (const { name, pending } of options.checks) {
      const count = await Promise.resolve()
        .then(pending)
        .catch(() => null);
      if (count === null) waiting.push(`${name} (no answer)`);
      else if (count > 0) waiting.push(`${count} ${name}`);
    }
    if (waiting.length === 0 || performance.now() > deadline) return waiting;
    options.onWaiting(waiting.join(', '));
    await Bun.sleep(POLL_MS);
  }
}
