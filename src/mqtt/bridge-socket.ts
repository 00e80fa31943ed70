import './packet-numbers.ts';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { generate, type Packet, parser } from 'mqtt-packet';
import { createFrameReader, readCutPublish } from './frame-reader.ts';

/** Certificates as PEM text. */
export interface TlsOptions {
  ca?: string;
  cert?: string;
  key?: string;
  rejectUnauthorized?: boolean;
}

/** A PUBLISH that is too large to be held; `payload` is only its beginning. */
export interface CutPublish {
  topic: string;
  messageId: number;
  qos: number;
  payload: Buffer;
  /** The length of the whole packet in bytes. */
  size: number;
}

export interface PacketSocketOptions {
  /** mqtt:// or mqtts:// */
  url: string;
  tls?: TlsOptions;
  protocolVersion: 4 | 5;
  maxPacketBytes: number;
  connectTimeoutMs: number;
  /** Ends the attempt to connect. */
  signal: AbortSignal;
  onPacket(packet: Packet): void;
  onCutPublish(publish: CutPublish): void;
  /** What was written has gone out, after `pendingBytes` was large. */
  onDrain(): void;
}

/** A connection that carries MQTT packets. */
export interface PacketSocket {
  /** Packets of one turn go out together. */
  send(packet: Packet): void;
  /** Bytes that the other side hasn't taken yet. */
  readonly pendingBytes: number;
  /** When something was last read: milliseconds, monotonic. */
  readonly lastReadMs: number;
  readonly paused: boolean;
  pause(): void;
  resume(): void;
  /** Resolves when it has ended, with the reason. */
  readonly ended: Promise<Error>;
  /** Sends what is left and closes. */
  close(): Promise<void>;
  destroy(reason: Error): void;
}

/** Of a packet over the limit: enough for its topic, and to tell what it was. */
const KEPT_BYTES = 128 * 1024;
const CLOSE_WITHIN_MS = 1_000;

/** @throws Error when there is nobody there, or no answer in time */
export async function openPacketSocket(options: PacketSocketOptions): Promise<PacketSocket> {
  const socket = await connect(options);
  const { protocolVersion } = options;
  const frames = createFrameReader({ maxBytes: options.maxPacketBytes, keptBytes: KEPT_BYTES });
  const ended = Promise.withResolvers<Error>();
  const packets = parser({ protocolVersion });
  let outgoing: Buffer[] = [];
  let lastReadMs = performance.now();
  let reason: Error | null = null;

  function destroy(error: Error): void {
    reason ??= error;
    socket.destroy();
    ended.resolve(reason);
  }
  function flush(): void {
    if (outgoing.length === 0) return;
    const bytes = Buffer.concat(outgoing);
    outgoing = [];
    if (!socket.destroyed) socket.write(bytes);
  }

  packets.on('packet', (packet) => {
    if (reason === null) options.onPacket(packet);
  });
  packets.on('error', (error) => destroy(new Error(`not MQTT: ${error.message}`)));
  socket.on('data', (chunk: Buffer) => {
    lastReadMs = performance.now();
    try {
      for (const frame of frames.push(chunk)) {
        if (reason !== null) return;
        if (!frame.isCut) {
          packets.parse(frame.bytes);
          continue;
        }
        const publish = readCutPublish(frame.bytes, protocolVersion);
        if (publish === null) throw new Error(`a packet of ${frame.size} bytes: none is so large`);
        options.onCutPublish({ ...publish, size: frame.size });
      }
    } catch (error) {
      destroy(error as Error);
    }
  });
  socket.on('drain', options.onDrain);
  socket.on('error', destroy);
  socket.on('close', () =>
    destroy(new Error('the broker ended it: it stopped, or another client has the same id')),
  );

  return {
    send(packet) {
      if (outgoing.length === 0) setImmediate(flush);
      outgoing.push(generate(packet, { protocolVersion }));
    },
    get pendingBytes() {
      return socket.writableLength;
    },
    get lastReadMs() {
      return lastReadMs;
    },
    get paused() {
      return socket.isPaused();
    },
    pause: () => void socket.pause(),
    resume() {
      lastReadMs = performance.now();
      socket.resume();
    },
    ended: ended.promise,
    async close() {
      flush();
      // The other side's FIN is only seen by one who reads.
      reason ??= new Error('closed');
      socket.resume();
      socket.end();
      const timer = setTimeout(() => socket.destroy(), CLOSE_WITHIN_MS);
      await ended.promise;
      clearTimeout(timer);
    },
    destroy,
  };
}

function connect(options: PacketSocketOptions): Promise<Socket> {
  const { signal } = options;
  const url = new URL(options.url);
  const secure = url.protocol === 'mqtts:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = url.port === '' ? (secure ? 8883 : 1883) : Number(url.port);
  return new Promise((resolve, reject) => {
    const servername = isIP(host) ? undefined : host;
    const socket = secure
      ? connectTls({ host, port, servername, ...options.tls })
      : connectTcp({ host, port });
    socket.setNoDelay(true);
    const timer = setTimeout(
      () => failed(new Error(`no answer from ${host}:${port} in ${options.connectTimeoutMs} ms`)),
      options.connectTimeoutMs,
    );
    const aborted = () => failed(new Error('the bridge is closing'));
    const closed = () => failed(new Error(`${host}:${port} closed the connection at once`));
    function failed(error: Error): void {
      settled();
      socket.destroy();
      reject(error);
    }
    function settled(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
      socket.off('close', closed);
    }
    signal.addEventListener('abort', aborted);
    if (signal.aborted) aborted();
    // Stays: an error after the rejection has nobody else to tell.
    socket.on('error', failed);
    socket.once('close', closed);
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      settled();
      resolve(socket);
    });
  });
}
