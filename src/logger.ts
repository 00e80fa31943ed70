import pino, { type LevelWithSilent, type Logger } from 'pino';

/** The log of the process: JSON lines on stderr. */
export interface ProcessLog {
  logger: Logger;
  /** Writes what was held back, and from now on everything at once: the process is ready. */
  release(): void;
  /** Forgets what was held back. */
  discard(): void;
  /** Resolves when the lines are out. */
  flush(): Promise<void>;
}

/** Makes pino tell the stream of a line's level, as `lastLevel`. */
const NEEDS_METADATA = Symbol.for('pino.metadata');
/** Of pino's level numbers. */
const WARNING = 40;
const MAX_HELD_LINES = 1_000;

/**
 * Until `release`, lines below a warning wait: of a start that fails for a plain reason, a taken
 * port, the reader at the terminal shall see that reason and nothing else.
 */
export function createProcessLog(level: LevelWithSilent): ProcessLog {
  const destination = pino.destination({ dest: 2, sync: false });
  let held: string[] | null = [];
  const stream = {
    [NEEDS_METADATA]: true,
    lastLevel: 0,
    write(line: string) {
      const isMinor = this.lastLevel < WARNING;
      if (held !== null && isMinor && held.length < MAX_HELD_LINES) held.push(line);
      else destination.write(line);
    },
  };
  return {
    logger: pino({ level, base: null }, stream),
    release() {
      for (const line of held ?? []) destination.write(line);
      held = null;
    },
    discard() {
      held = [];
    },
    flush: () => new Promise((resolve) => destination.flush(() => resolve())),
  };
}
