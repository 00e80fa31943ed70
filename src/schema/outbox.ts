/** What goes out to one client over its WebSocket, no faster than it reads. */
export interface Outbox {
  /** Resolves once the client may have more: until then its subscriptions pull nothing. */
  send(text: string): void | Promise<void>;
  /** The client has read on, or is gone. */
  drained(): void;
  /** Closes the socket behind what was sent. */
  close(code: number, reason: string): void;
}

type Socket = Pick<
  Bun.ServerWebSocket<unknown>,
  'readyState' | 'sendText' | 'terminate' | 'cork' | 'getBufferedAmount' | 'close'
>;

/** Characters that may wait for the end of a turn. */
const MAX_QUEUED = 64 * 1024;

/**
 * What is sent within one turn of the event loop goes out in one write: the more there is to do, the
 * more messages that is.
 *
 * @param stallMs a client that reads nothing for so long, while there is something, is cut off
 */
export function createOutbox(ws: Socket, stallMs: number): Outbox {
  let queue: string[] = [];
  let queued = 0;
  let isBlocked = false;
  let waiting: (() => void)[] = [];
  let stall: ReturnType<typeof setTimeout> | undefined;

  function flush(): void {
    const texts = queue;
    queue = [];
    queued = 0;
    if (texts.length > 0 && ws.readyState === WebSocket.OPEN) write(texts);
    if (!isBlocked) release();
  }

  function write(texts: readonly string[]): void {
    let isDropped = false;
    ws.cork(() => {
      for (const text of texts) isDropped ||= ws.sendText(text) === 0;
    });
    // A gap that the client can't see. It has to come back and resume.
    if (isDropped) ws.terminate();
    else if (ws.getBufferedAmount() > 0) {
      // The next event is pulled once the client has read.
      isBlocked = true;
      stall ??= setTimeout(() => ws.terminate(), stallMs);
    }
  }

  function release(): void {
    const resolved = waiting;
    waiting = [];
    for (const resolve of resolved) resolve();
  }

  return {
    send(text) {
      if (queue.length === 0) setImmediate(flush);
      queue.push(text);
      queued += text.length;
      if (isBlocked || queued > MAX_QUEUED) return new Promise((resolve) => waiting.push(resolve));
    },
    drained() {
      clearTimeout(stall);
      stall = undefined;
      isBlocked = false;
      release();
    },
    close(code, reason) {
      flush();
      ws.close(code, reason);
    },
  };
}
