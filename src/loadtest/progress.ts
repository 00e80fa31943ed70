/** The line that says how it goes: on a terminal rewritten in place, else one each five seconds. */
export interface Progress {
  /** Calls `line` again and again until stop(). */
  start(line: () => string): void;
  stop(): void;
}

const TERMINAL_INTERVAL_MS = 250;
const PLAIN_INTERVAL_MS = 5_000;
const FALLBACK_COLUMNS = 80;

export function createProgress(output: NodeJS.WriteStream): Progress {
  const terminal = output.isTTY === true;
  let timer: ReturnType<typeof setInterval> | undefined;

  function write(text: string): void {
    const width = (output.columns || FALLBACK_COLUMNS) - 1;
    output.write(terminal ? `\r\u001b[K${text.slice(0, width)}` : `${text}\n`);
  }

  function stop(): void {
    if (timer === undefined) return;
    clearInterval(timer);
    timer = undefined;
    if (terminal) output.write('\r\u001b[K');
  }

  return {
    start(line) {
      stop();
      if (terminal) write(line());
      const interval = terminal ? TERMINAL_INTERVAL_MS : PLAIN_INTERVAL_MS;
      timer = setInterval(() => write(line()), interval);
    },
    stop,
  };
}
