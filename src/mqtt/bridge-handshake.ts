import type { IConnackPacket, ISubackPacket, Packet } from 'mqtt-packet';
import { keepAlive } from './bridge-keepalive.ts';
import { connackProblem } from './bridge-refusal.ts';
import type { PacketSocket } from './bridge-socket.ts';

export interface HandshakeOptions {
  protocolVersion: 4 | 5;
  clientId: string;
  username?: string;
  password?: string;
  filter: string;
  /** Announced to an MQTT 5 broker, which then sends no more unacknowledged messages. */
  maxInFlight: number;
  sessionExpiryS: number;
  keepAliveS: number;
  handshakeTimeoutMs: number;
}

export interface Handshake {
  connack(packet: IConnackPacket): void;
  suback(packet: ISubackPacket): void;
  /** CONNECT and SUBSCRIBE. @throws Error that says what the broker refuses, or why it ended */
  run(socket: PacketSocket, signal: AbortSignal): Promise<Agreement>;
}

export interface Agreement {
  sessionPresent: boolean;
  /**
   * The QoS that the broker granted: below 1 nothing is promised. Rejects when it refused, and the
   * connection ends. A kept session's messages all come before this answer.
   */
  granted: Promise<number>;
}

const SUBSCRIBE_ID = 1;
const FIRST_FAILURE = 128;

/** Opens a session and subscribes, each time: a broker may have kept the one and not the other. */
export function createHandshake(options: HandshakeOptions): Handshake {
  const { handshakeTimeoutMs, filter } = options;
  const connack = Promise.withResolvers<IConnackPacket>();
  const suback = Promise.withResolvers<number>();

  async function run(socket: PacketSocket, signal: AbortSignal): Promise<Agreement> {
    const failed = socket.ended.then((error) => Promise.reject(error));
    const onAbort = () => socket.destroy(new Error('the bridge is closing'));
    const late = new Error(`the broker did not answer in ${handshakeTimeoutMs} ms`);
    const timer = setTimeout(() => socket.destroy(late), handshakeTimeoutMs);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    try {
      socket.send(connectPacket(options));
      const { sessionPresent, ...accepted } = await Promise.race([connack.promise, failed]);
      checkConnack(accepted, options.protocolVersion);
      keepAlive(socket, (accepted.properties?.serverKeepAlive ?? options.keepAliveS) * 1_000);
      socket.send(subscribePacket(options));
      const granted = Promise.race([suback.promise, failed]).then(checkGranted);
      granted.catch((error) => socket.destroy(error));
      if (!sessionPresent) await granted;
      return { sessionPresent, granted };
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  function checkGranted(qos: number): number {
    if (qos < FIRST_FAILURE) return qos;
    const remedy = "give the bridge's user the right to subscribe to it";
    throw new Error(`the broker refused the subscription to ${filter}: ${remedy}`);
  }

  return {
    connack: connack.resolve,
    suback: ({ granted }) => suback.resolve(granted[0] as number),
    run,
  };
}

function connectPacket(options: HandshakeOptions): Packet {
  const { protocolVersion, clientId, username, password, keepAliveS } = options;
  const properties = {
    sessionExpiryInterval: options.sessionExpiryS,
    receiveMaximum: options.maxInFlight,
  };
  return {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion,
    clientId,
    clean: false,
    keepalive: keepAliveS,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password: Buffer.from(password) }),
    ...(protocolVersion === 5 ? { properties } : {}),
  };
}

function subscribePacket({ filter, protocolVersion }: HandshakeOptions): Packet {
  // MQTT 5 sends retained messages only to a new subscription; 3.1.1 does each time, and a reading
  // that comes twice is stored once.
  const options = protocolVersion === 5 ? { nl: false, rap: false, rh: 1 } : {};
  const subscription = { topic: filter, qos: 1 as const, ...options };
  return { cmd: 'subscribe', messageId: SUBSCRIBE_ID, subscriptions: [subscription] };
}

function checkConnack(packet: Omit<IConnackPacket, 'sessionPresent'>, version: 4 | 5): void {
  const code = packet.reasonCode ?? packet.returnCode ?? 0;
  if (code === 0) return;
  throw new Error(`the broker ${connackProblem(version, code, packet.properties?.reasonString)}`);
}
