/** What all connections of the broker together have read and not yet finished, in bytes. */
export interface InFlight {
  enter(bytes: number): void;
  leave(bytes: number): void;
  isFull(): boolean;
  /** Twice as much: then nothing is read at all. */
  isOver(): boolean;
  /** Calls back once, when a full one has emptied to a half. */
  whenRoom(onRoom: () => void): void;
  forget(onRoom: () => void): void;
  readonly bytes: number;
}

export function createInFlight(maxBytes: number): InFlight {
  const waiting = new Set<() => void>();
  let bytes = 0;
  return {
    enter(size) {
      bytes += size;
    },
    leave(size) {
      bytes -= size;
      if (waiting.size === 0 || bytes > maxBytes / 2) return;
      const woken = [...waiting];
      waiting.clear();
      // Not within: what they do is none of whoever has just finished.
      for (const onRoom of woken) queueMicrotask(onRoom);
    },
    isFull: () => bytes >= maxBytes,
    isOver: () => bytes >= 2 * maxBytes,
    whenRoom: (onRoom) => waiting.add(onRoom),
    forget: (onRoom) => waiting.delete(onRoom),
    get bytes() {
      return bytes;
    },
  };
}
