import type { Packet } from 'mqtt-packet';
import { type Agreement, createHandshake, type HandshakeOptions } from './bridge-handshake.ts';
import { type BridgeMessage, createIntake } from './bridge-intake.ts';
import { disconnectProblem } from './bridge-refusal.ts';
import { openPacketSocket, type PacketSocket, type TlsOptions } from './bridge-socket.ts';

export interface SessionOptions extends HandshakeOptions {
  /** mqtt:// or mqtts:// */
  url: string;
  tls?: TlsOptions;
  /** How much may be unacknowledged before the socket isn't read. */
  maxInFlight: number;
  maxInFlightBytes: number;
  maxPacketBytes: number;
}

export interface BridgeSession extends Agreement {
  readonly inFlight: number;
  readonly inFlightBytes: number;
  /** Whether what devices send is held up here. */
  readonly isFull: boolean;
  /** Resolves when the connection has ended, with the reason. */
  readonly ended: Promise<Error>;
  /** Resolves when no message is being stored any more. */
  settled(): Promise<void>;
  /** Takes no more messages, waits for those being stored, acknowledges them and says goodbye. */
  stop(deadlineMs: number): Promise<void>;
}

/**
 * One connection of the bridge: CONNECT, SUBSCRIBE, and every message handed to `store` in the
 * order of arrival, many at a time; a PUBACK follows once it resolved and so did all before it.
 * Where `store` rejects, the connection ends without a PUBACK, and the broker sends again.
 *
 * @throws Error that says why there is no session
 */
export async function openSession(
  options: SessionOptions,
  store: (message: BridgeMessage) => Promise<void>,
  signal: AbortSignal,
): Promise<BridgeSession> {
  const handshake = createHandshake(options);
  const intake = createIntake({ ...options, store, socket: () => socket });
  const { window } = intake;

  function onPacket(packet: Packet): void {
    switch (packet.cmd) {
      case 'connack':
        handshake.connack(packet);
        break;
      case 'suback':
        handshake.suback(packet);
        break;
      case 'publish':
        intake.publish(packet);
        break;
      case 'pubrel':
        socket.send({ cmd: 'pubcomp', messageId: packet.messageId, reasonCode: 0 });
        break;
      case 'disconnect': {
        const problem = disconnectProblem(packet.reasonCode ?? 0, packet.properties?.reasonString);
        socket.destroy(new Error(`the broker ${problem}`));
      }
    }
  }

  const socket: PacketSocket = await openPacketSocket({
    ...options,
    connectTimeoutMs: options.handshakeTimeoutMs,
    signal,
    onPacket,
    onCutPublish: intake.cutPublish,
    onDrain: intake.resumeWhenFree,
  });
  let agreement: Agreement;
  try {
    agreement = await handshake.run(socket, signal);
  } catch (error) {
    socket.destroy(error as Error);
    // The messages of a kept session come before the answer to SUBSCRIBE.
    await orAborted(window.settled(), signal);
    throw error;
  }

  async function stop(deadlineMs: number): Promise<void> {
    intake.stop();
    await Promise.race([window.settled(), socket.ended, Bun.sleep(deadlineMs)]);
    socket.send({ cmd: 'disconnect', reasonCode: 0 });
    await socket.close();
  }

  return {
    ...agreement,
    get inFlight() {
      return window.messages;
    },
    get inFlightBytes() {
      return window.bytes;
    },
    get isFull() {
      return window.isFull();
    },
    ended: socket.ended,
    settled: () => window.settled(),
    stop,
  };
}

/** What it resolves with, or null where the signal aborts first. */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const onAbort = () => resolve(null);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
