import type { InFlight } from './in-flight.ts';
import type { Rate } from './rate.ts';

/**
 * What one connection has in the broker: messages that were read from its socket and aren't done.
 * Above the limit its socket isn't read, so that TCP slows the sender down; others go on.
 */
export interface Inflow {
  /** The end of the line: settles when every message before it has. Never rejects. */
  tail: Promise<void>;
  /** Once a message failed, none behind it is acknowledged: the client will send them again. */
  failed: boolean;
  /** None where there is no limit. */
  readonly rate: Rate | undefined;
  isFull(): boolean;
  enter(bytes: number): void;
  leave(bytes: number): void;
}

export interface InflowLimits {
  maxMessages: number;
  maxBytes: number;
  /** Of all connections: while that is full, one with something unfinished isn't read either. */
  inFlight: InFlight;
}

/** `onRoom` is called when a full line, its own or that of all, has emptied to a half. */
export function createInflow(limits: InflowLimits, onRoom: () => void, rate?: Rate): Inflow {
  let messages = 0;
  let bytes = 0;
  let full = false;
  let waitsForOthers = false;
  const { inFlight } = limits;
  const onRoomForAll = () => {
    waitsForOthers = false;
    onRoom();
  };

  /**
   * One with nothing unfinished goes on: a subscriber's ping waits for nobody's log. But a device
   * that isn't read for long comes back, with nothing unfinished and all of it once more.
   */
  function mustWaitForOthers(): boolean {
    if (messages === 0 ? !inFlight.isOver() : !inFlight.isFull()) return false;
    waitsForOthers = true;
    inFlight.whenRoom(onRoomForAll);
    return true;
  }

  return {
    tail: Promise.resolve(),
    failed: false,
    rate,
    isFull() {
      if (rate?.isOver()) return true;
      full ||= messages >= limits.maxMessages || bytes >= limits.maxBytes;
      return full || mustWaitForOthers();
    },
    enter(size) {
      rate?.take();
      messages++;
      bytes += size;
    },
    leave(size) {
      messages--;
      bytes -= size;
      const isRoom = messages <= limits.maxMessages / 2 && bytes <= limits.maxBytes / 2;
      if (!(full && isRoom) && !(waitsForOthers && messages === 0)) return;
      full = false;
      inFlight.forget(onRoomForAll);
      onRoomForAll();
    },
  };
}
