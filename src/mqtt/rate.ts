/** Messages a second of one connection, with a second's worth to spare. */
export interface Rate {
  take(): void;
  /** True while nothing more should be read; then `onRoom` follows. */
  isOver(): boolean;
  /** From here on there is no limit. */
  lift(): void;
  close(): void;
}

export interface RateOptions {
  perSecond: number;
  onRoom(): void;
  /** Called once, where backpressure alone didn't slow the sender down for so long. */
  onAbuse(): void;
  patienceMs?: number | undefined;
  /** Milliseconds, for tests. */
  now?: () => number;
}

const PATIENCE_MS = 60_000;
/** Read on a little later than at once, so that a read is worth its while. */
const ROOM_SHARE = 0.1;

/**
 * A bucket of tokens that may be overdrawn: what was read is taken in, however much it is, and paid
 * for before anything more is read.
 */
export function createRate(options: RateOptions): Rate {
  const { perSecond, patienceMs = PATIENCE_MS, now = () => performance.now() } = options;
  let tokens = perSecond;
  let filledMs = now();
  let overSinceMs: number | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isLifted = false;

  function refill(): void {
    const nowMs = now();
    tokens = Math.min(perSecond, tokens + ((nowMs - filledMs) * perSecond) / 1_000);
    filledMs = nowMs;
    // Half of it unused: the sender is no longer one that pushes.
    if (tokens >= perSecond / 2) overSinceMs = null;
  }

  return {
    take() {
      if (isLifted) return;
      refill();
      tokens--;
    },
    isOver() {
      if (isLifted) return false;
      refill();
      if (tokens >= 0) return false;
      overSinceMs ??= filledMs;
      if (filledMs - overSinceMs > patienceMs) {
        isLifted = true;
        options.onAbuse();
        return true;
      }
      if (timer === undefined) {
        const waitMs = ((ROOM_SHARE * perSecond - tokens) / perSecond) * 1_000;
        timer = setTimeout(() => {
          timer = undefined;
          options.onRoom();
        }, waitMs);
      }
      return true;
    },
    lift() {
      isLifted = true;
    },
    close: () => clearTimeout(timer),
  };
}
