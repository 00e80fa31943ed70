/**
 * Writes at most one line in `everyMs`: what a misconfigured fleet repeats must not fill the disk.
 * The line is told how many like it were left out before it.
 */
export function createSparingLog<T>(
  everyMs: number,
  write: (detail: T, leftOut: number) => void,
): (detail: T) => void {
  let nextMs = 0;
  let leftOut = 0;
  return (detail) => {
    const nowMs = performance.now();
    if (nowMs < nextMs) {
      leftOut++;
      return;
    }
    nextMs = nowMs + everyMs;
    write(detail, leftOut);
    leftOut = 0;
  };
}
