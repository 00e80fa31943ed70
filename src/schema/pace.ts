/** Lets subscribers go to work, in passes: all who ask within one turn of the event loop go together. */
export interface Pace {
  /** Undefined: go on at once. Else when it resolves. */
  turn(): Promise<void> | undefined;
}

export interface PaceOptions {
  /** What waking one subscriber may take of the time before the next pass: its write, above all. */
  eachMs: number;
  maxMs: number;
}

/**
 * Waking a subscriber costs more than giving it a message: a write to its socket. So behind a pass
 * that woke many there is a pause, as long as what that cost: what happens in it comes in one write.
 * The first event after it is handed on at once; so is every one while few are awake.
 */
export function createPace({ eachMs, maxMs }: PaceOptions): Pace {
  let woken = 0;
  let isOpen = false;
  let nextAtMs = Number.NEGATIVE_INFINITY;
  let gate: Promise<void> | null = null;

  function open(): void {
    isOpen = true;
    gate = null;
    setImmediate(() => {
      isOpen = false;
      nextAtMs = performance.now() + Math.min(maxMs, woken * eachMs);
      woken = 0;
    });
  }

  return {
    turn() {
      woken++;
      if (isOpen) return;
      if (gate !== null) return gate;
      const leftMs = nextAtMs - performance.now();
      if (leftMs <= 0) open();
      if (isOpen) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      setTimeout(() => {
        open();
        resolve();
      }, leftMs);
      gate = promise;
      return gate;
    },
  };
}
