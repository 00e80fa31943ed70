/** What a timer takes at the most; what is due later is looked at again then. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Runs `due` at a time of the wall clock, epoch ms, soon where that has passed; null is never.
 *
 * @returns what cancels it
 */
export function atTime(timeMs: number | null, due: () => void): () => void {
  if (timeMs === null) return () => {};
  let timer: ReturnType<typeof setTimeout>;
  const arm = (): void => {
    const left = timeMs - Date.now();
    timer = setTimeout(left > MAX_TIMER_MS ? arm : due, Math.min(Math.max(left, 0), MAX_TIMER_MS));
  };
  arm();
  return () => clearTimeout(timer);
}
