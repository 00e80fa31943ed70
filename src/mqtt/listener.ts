import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Logger } from 'pino';
import { StartError } from '../domain/start-error.ts';
import { createFrameGuard } from './frames.ts';
import type { Inflow } from './inflow.ts';
import { createSparingLog } from './sparing-log.ts';

export interface MqttListenerOptions {
  maxConnections: number;
  /** A longer packet ends its connection when its length arrives. */
  maxPacketBytes: number;
  /** `onAbuse` ends the connection of one who sends too fast and doesn't stop. */
  createInflow(onRoom: () => void, onAbuse: () => void): Inflow;
  /** Hands an accepted socket to the broker. */
  handle(socket: Socket, inflow: Inflow): void;
  logger: Pick<Logger, 'warn'>;
}

/** PEM texts. */
export interface ListenerTls {
  cert: string;
  key: string;
  /** Clients have to show a certificate that is signed by one of these. */
  clientCa?: string | undefined;
}

export interface MqttListener {
  /** Resolves with the port. @throws StartError when it can't be had */
  listen(port: number, host: string, tls?: ListenerTls): Promise<number>;
  stopAccepting(): void;
  /** Ends what is still open and resolves when the port is free. */
  destroy(): Promise<void>;
  connections(): number;
  oversized(): number;
}

/** How much may wait in a socket, each way, before it pushes back. */
export const SOCKET_BUFFER_BYTES = 256 * 1024;
const LOG_EVERY_MS = 10_000;
const TCP_KEEPALIVE_MS = 60_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** The broker's TCP side: who gets in, how large a packet may be, and when a socket is read. */
export function createMqttListener(options: MqttListenerOptions): MqttListener {
  const { maxConnections, maxPacketBytes, logger } = options;
  const sockets = new Set<Socket>();
  let oversized = 0;
  const logFull = createSparingLog<void>(LOG_EVERY_MS, (_, leftOut) =>
    logger.warn(
      { maxConnections, leftOut },
      'refused an MQTT connection: the most that are allowed are open',
    ),
  );
  const logOversized = createSparingLog<{ bytes: number; from: string | undefined }>(
    LOG_EVERY_MS,
    ({ bytes, from }, leftOut) =>
      logger.warn(
        { bytes, maxPacketBytes, from, leftOut },
        'closed an MQTT connection: its packet is far over the size limit; send smaller payloads',
      ),
  );

  const logTooFast = createSparingLog<Socket>(LOG_EVERY_MS, (socket, leftOut) => {
    const { client } = socket as { client?: { id: string } };
    logger.warn(
      { clientId: client?.id, from: socket.remoteAddress, leftOut },
      'closed an MQTT connection: for a minute it sent faster than MQTT_MAX_RATE, though read slowly',
    );
  });
  const logHandshake = createSparingLog<unknown>(LOG_EVERY_MS, (error, leftOut) =>
    logger.warn(
      { err: error, leftOut },
      'refused an MQTT connection: its TLS handshake failed; check its certificate, and which it trusts',
    ),
  );
  const servers: Server[] = [];

  function accept(socket: Socket): void {
    if (sockets.size >= maxConnections) {
      logFull();
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.setNoDelay(true);
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    const inflow = options.createInflow(
      () => socket.emit('readable'),
      () => {
        logTooFast(socket);
        socket.destroy();
      },
    );
    socket.once('close', () => inflow.rate?.close());
    guardReads(socket, inflow);
    options.handle(socket, inflow);
  }

  function serverFor(tls: ListenerTls | undefined): Server {
    if (tls === undefined) return createServer({ highWaterMark: SOCKET_BUFFER_BYTES }, accept);
    const { cert, key, clientCa } = tls;
    const server = createTlsServer({
      ...{ cert, key, minVersion: 'TLSv1.2', handshakeTimeout: HANDSHAKE_TIMEOUT_MS },
      ...(clientCa && { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
    });
    server.on('secureConnection', accept);
    server.on('tlsClientError', logHandshake);
    return server;
  }

  /**
   * The broker takes bytes by `socket.read()` when a batch of packets is done, and nowhere else: so
   * that is where packets are measured, and where a connection with too much unfinished waits.
   */
  function guardReads(socket: Socket, inflow: Inflow): void {
    const frames = createFrameGuard(maxPacketBytes);
    const read = socket.read.bind(socket);
    socket.read = (size?: number) => {
      if (size === 0) return read(0);
      if (inflow.isFull()) return null;
      const chunk = read(size) as Buffer | null;
      if (chunk === null) return null;
      const tooLarge = frames.push(chunk);
      if (tooLarge === null) return chunk;
      oversized++;
      logOversized({ bytes: tooLarge, from: socket.remoteAddress });
      socket.destroy();
      return null;
    };
  }

  function listen(port: number, host: string, tls?: ListenerTls): Promise<number> {
    const setting = tls === undefined ? 'MQTT_PORT' : 'MQTTS_PORT';
    const server = serverFor(tls);
    return new Promise((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) =>
        reject(startError(error, { setting, port, host })),
      );
      server.listen(port, host, () => {
        servers.push(server);
        const address = server.address();
        server.on('error', (error) => logger.warn({ err: error }, 'MQTT port'));
        resolve(typeof address === 'object' && address ? address.port : port);
      });
    });
  }

  let stopped: Promise<unknown> | undefined;
  function stopAccepting(): void {
    stopped ??= Promise.all(
      servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    );
  }

  return {
    listen,
    stopAccepting,
    async destroy() {
      stopAccepting();
      for (const socket of sockets) socket.destroy();
      await stopped;
    },
    connections: () => sockets.size,
    oversized: () => oversized,
  };
}

function startError(
  error: NodeJS.ErrnoException,
  { setting, port, host }: { setting: string; port: number; host: string },
): StartError {
  const remedy = `set ${setting} to another port`;
  if (error.code === 'EADDRINUSE') {
    return new StartError(
      'PORT_TAKEN',
      `${setting} ${port} is taken: stop the program that uses it, or ${remedy}`,
      { cause: error },
    );
  }
  return new StartError(
    'BAD_CONFIGURATION',
    `${setting} ${port} on ${host} can't be opened (${error.code ?? error.message}): ${remedy}`,
    { cause: error },
  );
}
