/**
 * How many messages may go out now, so that `rate` a second go out on average. What could not be
 * sent is made up for, but only `maxBehind` messages of it: after a longer standstill the schedule
 * moves, instead of a burst that measures nothing but itself.
 */
export interface Pacer {
  due(nowMs: number, sent: number): number;
}

export interface PacerOptions {
  startMs: number;
  /** Messages a second; Infinity sends as fast as the window allows. */
  rate: number;
  total: number;
  maxBehind: number;
}

export function createPacer({ startMs, rate, total, maxBehind }: PacerOptions): Pacer {
  let startedAt = startMs;
  return {
    due(nowMs, sent) {
      if (rate === Number.POSITIVE_INFINITY) return total - sent;
      const planned = Math.floor(((nowMs - startedAt) * rate) / 1000);
      const behind = Math.min(planned, total) - sent;
      if (behind <= maxBehind) return Math.max(0, behind);
      startedAt += ((behind - maxBehind) * 1000) / rate;
      return maxBehind;
    },
  };
}
