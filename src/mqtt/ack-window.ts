/**
 * The messages of one connection that aren't acknowledged yet. They are stored at the same time and
 * acknowledged in the order in which they came, as MQTT wants it [MQTT-4.6.0-2].
 */
export interface AckWindow {
  readonly messages: number;
  readonly bytes: number;
  /** At or above a limit, until it has emptied to a half. */
  isFull(): boolean;
  /** `acknowledge` is called once, when this work and all before it is done. */
  add(bytes: number, work: Promise<void>, acknowledge: () => void): void;
  /** Resolves when no work is under way, whatever became of it. */
  settled(): Promise<void>;
}

export interface AckWindowOptions {
  maxMessages: number;
  maxBytes: number;
  /** Called when a full window has emptied to a half. */
  onRoom: () => void;
  /** Called with the first failure, after which nothing is acknowledged any more. */
  onFailure: (error: unknown) => void;
}

interface Entry {
  bytes: number;
  done: boolean;
  acknowledge: () => void;
}

export function createAckWindow(options: AckWindowOptions): AckWindow {
  const { maxMessages, maxBytes } = options;
  const entries: Entry[] = [];
  let bytes = 0;
  let full = false;
  let failed = false;
  let underWay = 0;
  let waiters: (() => void)[] = [];

  function acknowledgeDone(): void {
    while (!failed && entries[0]?.done) {
      const entry = entries.shift() as Entry;
      bytes -= entry.bytes;
      entry.acknowledge();
    }
    if (!full || entries.length > maxMessages / 2 || bytes > maxBytes / 2) return;
    full = false;
    options.onRoom();
  }

  function fail(error: unknown): void {
    if (failed) return;
    failed = true;
    options.onFailure(error);
  }

  return {
    get messages() {
      return entries.length;
    },
    get bytes() {
      return bytes;
    },
    isFull() {
      full ||= entries.length >= maxMessages || bytes >= maxBytes;
      return full;
    },
    add(size, work, acknowledge) {
      const entry = { bytes: size, done: false, acknowledge };
      entries.push(entry);
      bytes += size;
      underWay++;
      work
        .then(() => {
          entry.done = true;
          acknowledgeDone();
        }, fail)
        .finally(() => {
          underWay--;
          if (underWay > 0) return;
          for (const resolve of waiters) resolve();
          waiters = [];
        });
    },
    settled: () =>
      underWay === 0
        ? Promise.resolve()
        : new Promise<void>((resolve) => {
            waiters.push(resolve);
          }),
  };
}
