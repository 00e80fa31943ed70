import type { IPublishPacket } from 'mqtt-packet';
import { type AckWindow, createAckWindow } from './ack-window.ts';
import type { CutPublish, PacketSocket } from './bridge-socket.ts';

/** A message as it came; the bytes are its own. */
export interface BridgeMessage {
  topic: string;
  payload: Buffer;
  /** The broker has sent it before. */
  isRepeated: boolean;
  /** The length of a packet that was too large: the payload is only its beginning. Else null. */
  cutFrom: number | null;
}

/** The messages of one connection, from its socket to `store`, and their acknowledgements back. */
export interface Intake {
  readonly window: Pick<AckWindow, 'messages' | 'bytes' | 'isFull' | 'settled'>;
  publish(packet: IPublishPacket): void;
  cutPublish(publish: CutPublish): void;
  /** Reads on where there is room again. */
  resumeWhenFree(): void;
  /** Takes nothing more; what is being stored will still be acknowledged. */
  stop(): void;
}

export interface IntakeOptions {
  /** How much may be unacknowledged before the socket isn't read. */
  maxInFlight: number;
  maxInFlightBytes: number;
  socket: () => PacketSocket;
  store(message: BridgeMessage): Promise<void>;
}

/** What each message in flight takes besides its payload, about. */
const OVERHEAD_BYTES = 256;
/** Acknowledgements that the broker doesn't take. */
const MAX_PENDING_BYTES = 256 * 1024;

export function createIntake({ socket, store, ...limits }: IntakeOptions): Intake {
  let stopped = false;
  const window = createAckWindow({
    maxMessages: limits.maxInFlight,
    maxBytes: limits.maxInFlightBytes,
    onRoom: resumeWhenFree,
    onFailure: (error) => socket().destroy(error as Error),
  });

  const hasRoom = () => !window.isFull() && socket().pendingBytes <= MAX_PENDING_BYTES;

  function take(message: BridgeMessage, qos: number, messageId = 0): void {
    if (stopped) return;
    window.add(message.payload.length + OVERHEAD_BYTES, store(message), () => {
      if (qos === 1) socket().send({ cmd: 'puback', messageId, reasonCode: 0 });
      // Only a subscription that somebody else made under this client id can bring these.
      if (qos === 2) socket().send({ cmd: 'pubrec', messageId, reasonCode: 0 });
    });
    if (!hasRoom()) socket().pause();
  }

  function resumeWhenFree(): void {
    if (!stopped && hasRoom() && socket().paused) socket().resume();
  }

  return {
    window,
    publish({ topic, payload, dup, qos, messageId }) {
      // The parser's payload lies in the socket's chunk, which a small one would hold in memory.
      const owned = Buffer.from(payload as Buffer);
      take({ topic, payload: owned, isRepeated: dup, cutFrom: null }, qos, messageId);
    },
    cutPublish({ topic, payload, qos, messageId, size }) {
      const owned = Buffer.from(payload);
      take({ topic, payload: owned, isRepeated: false, cutFrom: size }, qos, messageId);
    },
    resumeWhenFree,
    stop() {
      stopped = true;
      socket().pause();
    },
  };
}
