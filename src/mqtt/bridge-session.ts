import type { IConnackPacket, IDisconnectPacket, IPublishPacket, Packet } from 'mqtt-packet';
import { createAckWindow } from './ack-window.ts';
import { connackProblem, disconnectProblem } from './bridge-refusal.ts';
import {
  type CutPublish,
  openPacketSocket,
  type PacketSocket,
  type TlsOptions,
} from './bridge-socket.ts';

export interface SessionOptions {
  url: string;
  tls?: TlsOptions;
  protocolVersion: 4 | 5;
  clientId: string;
  username?: string;
  password?: string;
  filter: string;
  /** How much may be unacknowledged before the socket isn't read. */
  maxInFlight: number;
  maxInFlightBytes: number;
  maxPacketBytes: number;
  sessionExpiryS: number;
  keepAliveS: number;
  handshakeTimeoutMs: number;
}

/** A message as it came; the bytes are its own. */
export interface BridgeMessage {
  topic: string;
  payload: Buffer;
  /** The broker has sent it before. */
  isRepeated: boolean;
  /** The length of a packet that was too large: the payload is only its beginning. Else null. */
  cutFrom: number | null;
}

export interface BridgeSession {
  /** Whether the broker kept what was sent while nobody was here. */
  readonly sessionPresent: boolean;
  /** What the broker granted: below 1 nothing is promised. */
  readonly grantedQos: number;
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

/** What each message in flight takes besides its payload, about. */
const OVERHEAD_BYTES = 256;
const MAX_PENDING_BYTES = 256 * 1024;
const SUBSCRIBE_ID = 1;

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
  const { protocolVersion, handshakeTimeoutMs } = options;
  const connack = Promise.withResolvers<IConnackPacket>();
  const suback = Promise.withResolvers<number>();
  let stopping = false;

  const window = createAckWindow({
    maxMessages: options.maxInFlight,
    maxBytes: options.maxInFlightBytes,
    onRoom: () => resumeWhenFree(),
    onFailure: (error) => socket.destroy(error as Error),
  });

  function take(message: BridgeMessage, qos: number, messageId = 0): void {
    if (stopping) return;
    const acknowledge = () => {
      if (qos === 1) socket.send({ cmd: 'puback', messageId, reasonCode: 0 });
      if (qos === 2) socket.send({ cmd: 'pubrec', messageId, reasonCode: 0 });
    };
    window.add(message.payload.length + OVERHEAD_BYTES, store(message), acknowledge);
    if (window.isFull() || socket.pendingBytes > MAX_PENDING_BYTES) socket.pause();
  }

  function resumeWhenFree(): void {
    if (stopping || window.isFull() || socket.pendingBytes > MAX_PENDING_BYTES) return;
    if (socket.paused) socket.resume();
  }

  function onPacket(packet: Packet): void {
    switch (packet.cmd) {
      case 'connack':
        connack.resolve(packet);
        break;
      case 'suback':
        suback.resolve(packet.granted[0] as number);
        break;
      case 'publish':
        take(ownedMessage(packet), packet.qos, packet.messageId);
        break;
      case 'pubrel':
        socket.send({ cmd: 'pubcomp', messageId: packet.messageId, reasonCode: 0 });
        break;
      case 'disconnect':
        socket.destroy(new Error(`the broker ${disconnectReason(packet)}`));
    }
  }

  function onCutPublish({ topic, payload, messageId, qos, size }: CutPublish): void {
    const message = { topic, payload: Buffer.from(payload), isRepeated: false, cutFrom: size };
    take(message, qos, messageId);
  }

  const socket: PacketSocket = await openPacketSocket({
    url: options.url,
    tls: options.tls,
    protocolVersion,
    maxPacketBytes: options.maxPacketBytes,
    connectTimeoutMs: handshakeTimeoutMs,
    onPacket,
    onCutPublish,
    onDrain: resumeWhenFree,
  });
  const failed = socket.ended.then((error) => Promise.reject(error));
  failed.catch(() => {});
  const onAbort = () => socket.destroy(new Error('the bridge is closing'));
  const timer = setTimeout(
    () => socket.destroy(new Error(`the broker did not answer in ${handshakeTimeoutMs} ms`)),
    handshakeTimeoutMs,
  );
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  let accepted: IConnackPacket;
  let grantedQos: number;
  try {
    socket.send(connectPacket(options));
    accepted = await Promise.race([connack.promise, failed]);
    checkConnack(accepted, protocolVersion);
    socket.send(subscribePacket(options));
    grantedQos = await Promise.race([suback.promise, failed]);
    if (grantedQos > 2) {
      const why = 'its ACL must let this user read it';
      throw new Error(`the broker refused the subscription to ${options.filter}: ${why}`);
    }
  } catch (error) {
    socket.destroy(error as Error);
    await orAborted(window.settled(), signal);
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
  const keepAliveS = accepted.properties?.serverKeepAlive ?? options.keepAliveS;
  stayAlive(socket, keepAliveS * 1_000);

  return {
    sessionPresent: accepted.sessionPresent,
    grantedQos,
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
    async stop(deadlineMs) {
      stopping = true;
      socket.pause();
      await Promise.race([window.settled(), socket.ended, Bun.sleep(deadlineMs)]);
      socket.send({ cmd: 'disconnect', reasonCode: 0 });
      await socket.close();
    },
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

/** The parser's payload lies in the socket's chunk, which a small one would hold in memory. */
function ownedMessage({ topic, payload, dup }: IPublishPacket): BridgeMessage {
  return { topic, payload: Buffer.from(payload as Buffer), isRepeated: dup, cutFrom: null };
}

function connectPacket(options: SessionOptions): Packet {
  const { protocolVersion, clientId, username, password, keepAliveS, sessionExpiryS } = options;
  return {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion,
    clientId,
    clean: false,
    keepalive: keepAliveS,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password: Buffer.from(password) }),
    ...(protocolVersion === 5
      ? {
          properties: {
            sessionExpiryInterval: sessionExpiryS,
            receiveMaximum: options.maxInFlight,
          },
        }
      : {}),
  };
}

function subscribePacket({ filter, protocolVersion }: SessionOptions): Packet {
  // MQTT 5 sends retained messages only to a new subscription; 3.1.1 does each time, and a reading
  // that comes twice is stored once.
  const options = protocolVersion === 5 ? { nl: false, rap: false, rh: 1 } : {};
  const subscription = { topic: filter, qos: 1 as const, ...options };
  return { cmd: 'subscribe', messageId: SUBSCRIBE_ID, subscriptions: [subscription] };
}

function checkConnack(packet: IConnackPacket, version: 4 | 5): void {
  // A broker that doesn't speak version 5 may answer in the form of 3.1.1.
  const code = packet.reasonCode ?? packet.returnCode ?? 0;
  if (code === 0) return;
  throw new Error(`the broker ${connackProblem(version, code, packet.properties?.reasonString)}`);
}

function disconnectReason({ reasonCode, properties }: IDisconnectPacket): string {
  return disconnectProblem(reasonCode ?? 0, properties?.reasonString);
}

/** Pings, and ends a connection on which nothing comes back. */
function stayAlive(socket: PacketSocket, keepAliveMs: number): void {
  if (keepAliveMs <= 0) return;
  let pingedMs = Number.POSITIVE_INFINITY;
  const timer = setInterval(() => {
    // A paused socket isn't read, so its silence says nothing.
    if (!socket.paused && socket.lastReadMs < pingedMs && pingedMs < performance.now()) {
      const seconds = Math.round(keepAliveMs / 2_000);
      socket.destroy(new Error(`the broker did not answer a ping in ${seconds} s`));
      return;
    }
    pingedMs = performance.now();
    socket.send({ cmd: 'pingreq' });
  }, keepAliveMs / 2);
  void socket.ended.then(() => clearInterval(timer));
}
