/** What goes out to one client over its WebSocket, no faster than it reads. */
export interface Outbox {
  /** Resolves once the client may have more: until then its subscriptions pull nothing. */
  send(text: string): void | Promise<void>;
  /** The client has read on, or is gone. */
  drained(): void;
}

type Socket = Pick<Bun.ServerWebSocket<unknown>, 'readyState' | 'sendText' | 'terminate'>;

/** @param stallMs a client that reads nothing for so long, while there is something, is cut off */
export function createOutbox(ws: Socket, stallMs: number): Outbox {
  let waiting: (() => void)[] = [];
  let stall: ReturnType<typeof setTimeout> | undefined;
  return {
    send(text) {
      const sent = ws.readyState === WebSocket.OPEN ? ws.sendText(text) : 1;
      // Buffered: the next event is pulled once the client has read.
      if (sent === -1) {
        stall ??= setTimeout(() => ws.terminate(), stallMs);
        return new Promise((resolve) => waiting.push(resolve));
      }
      // Dropped: a gap that the client can't see. It has to come back and resume.
      if (sent === 0) ws.terminate();
    },
    drained() {
      clearTimeout(stall);
      stall = undefined;
      const resolved = waiting;
      waiting = [];
      for (const resolve of resolved) resolve();
    },
  };
}
