import { Aedes, type AuthenticateError, type Client } from 'aedes';
import type { Logger } from 'pino';
import type { LogAppender } from '../domain/log.ts';
import type { TopicPattern } from '../domain/topic.ts';
import { filterMatches } from './filters.ts';
import { createInflow, type Inflow } from './inflow.ts';
import { createIngest } from './ingest.ts';
import { createMqttListener, SOCKET_BUFFER_BYTES } from './listener.ts';
import { createPersistence } from './persistence.ts';
import { refuseMqtt5 } from './refusal.ts';
import { createSparingLog } from './sparing-log.ts';
import type { BrokerPacket } from './stored-packet.ts';

export interface BrokerOptions {
  /** 0 takes a free one. */
  port: number;
  /** Default 127.0.0.1: there are no passwords, whoever reaches the port is the operator. */
  host?: string;
  /** SQLite file of sessions, retained messages and queues. */
  dataFile: string;
  appender: LogAppender;
  /** Which topics go into the log. */
  telemetry: TopicPattern;
  /** Payloads above it become dead letters later; a packet of 16 times it ends its connection. */
  maxPayloadBytes: number;
  logger: Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>;
  /** A QoS 1 subscriber that takes nothing for this long is disconnected; default 2,000. */
  drainTimeoutMs?: number;
  /** Default 10,000. */
  maxConnections?: number;
  /** A session that stays away longer is forgotten; default 7 days. */
  sessionExpiryMs?: number;
  /** A session's queue drops its oldest message above this; default 100,000. */
  maxQueuedMessages?: number;
  /** How much of one connection may be unfinished before its socket isn't read; defaults 512, 1 MiB. */
  maxInflowMessages?: number;
  maxInflowBytes?: number;
}

export interface BrokerStats {
  connections: number;
  sessions: number;
  queuedMessages: number;
  /** Messages that went into the log, and those it didn't take. */
  appended: number;
  appendFailures: number;
  /** Messages that full session queues dropped. */
  dropped: number;
  /** QoS 0 deliveries that subscribers were too slow for. */
  skipped: number;
  refusedMqtt5: number;
  oversized: number;
}

export interface Broker {
  url: string;
  port: number;
  stats(): BrokerStats;
  /** Closes every connection, waits for what is being written, and closes the file. */
  close(deadlineMs?: number): Promise<void>;
}

const HOUR_MS = 3_600_000;
const EXPIRY_CHECK_MS = 60_000;
const LOG_EVERY_MS = 10_000;

/**
 * An MQTT 3.1.1 broker in the process. A message that goes into the log is acknowledged once the log
 * has it on disk; any other QoS 1 or 2 message once the queues it goes to have.
 *
 * @throws StartError when the port is taken or the file is in use
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { logger, host = '127.0.0.1' } = options;
  const counters = { dropped: 0, skipped: 0, refusedMqtt5: 0 };
  const inflows = new WeakMap<object, Inflow>();
  const logs = sparingLogs(logger);

  const persistence = createPersistence({
    file: options.dataFile,
    maxQueuedMessages: options.maxQueuedMessages,
    onDropped(clientId) {
      counters.dropped++;
      logs.dropped(clientId);
    },
    onWriteError: (error) => logger.error({ err: error }, 'MQTT sessions could not be written'),
  });
  const ingest = createIngest({
    appender: options.appender,
    telemetry: options.telemetry,
    persistence,
    inflowOf: (client) => (client ? inflows.get(client) : undefined),
    identity: () => ({ brokerId: aedes.id, brokerCounter: ++numbers.counter }),
    onFailure: (client, packet, error) => logs.appendFailed({ client, packet, error }),
  });

  const aedes = await Aedes.createBroker({
    persistence,
    // Without a limit of its own: each connection has one, and a shared one would let a single
    // frozen subscriber use it up and stall everybody.
    concurrency: 0,
    drainTimeout: options.drainTimeoutMs ?? 2_000,
    connectTimeout: 10_000,
    preConnect(client, packet, callback) {
      if (packet.protocolVersion !== 5) {
        callback(null, true);
        return;
      }
      counters.refusedMqtt5++;
      logs.refusedMqtt5(packet.clientId);
      refuseMqtt5(client.conn, () => callback(new Error('MQTT 5 refused'), false));
    },
    authenticate(
      client,
      _username,
      _password,
      done: (e: AuthenticateError | null, ok: true) => void,
    ) {
      if (!client.clean) persistence.backlogs.hold(client);
      done(null, true);
    },
    authorizePublish: ingest.authorizePublish,
    published: ingest.published,
    authorizeForward(client, packet) {
      if (isCongested(client) && takesAtQos0(client, packet)) {
        counters.skipped++;
        logs.skipped(client.id);
        return null;
      }
      // A packet with an id comes from the session's queue itself; a retained one is no part of it.
      if (client.clean || packet.qos === 0 || packet.retain || packet.messageId !== undefined) {
        return packet;
      }
      const isQueued = () => persistence.isQueuedFor(client.id, packet.topic);
      return persistence.backlogs.mayGoLive(client, packet, isQueued) ? packet : null;
    },
  });
  const numbers = aedes as unknown as { counter: number };
  persistence.adoptSessions(Date.now());
  aedes.on('client', (client) => persistence.sessionConnected(client.id, client.clean));
  aedes.on('clientDisconnect', (client) => persistence.sessionDisconnected(client.id, Date.now()));
  aedes.on('clientError', (client, error) =>
    logger.debug({ clientId: client.id, err: error }, 'MQTT connection ended by an error'),
  );
  aedes.on('connectionError', (_client, error) =>
    logger.debug({ err: error }, 'MQTT connection ended before CONNECT was done'),
  );
  (aedes as NodeJS.EventEmitter).on('error', (error: unknown) =>
    logger.error({ err: error }, 'MQTT broker'),
  );

  const limits = {
    maxMessages: options.maxInflowMessages ?? 512,
    maxBytes: options.maxInflowBytes ?? 1024 * 1024,
  };
  const listener = createMqttListener({
    maxConnections: options.maxConnections ?? 10_000,
    maxPacketBytes: Math.max(16 * options.maxPayloadBytes, 1024 * 1024),
    createInflow: (onRoom) => createInflow(limits, onRoom),
    handle(socket, inflow): Client {
      const client = aedes.handle(socket);
      inflows.set(client, inflow);
      return client;
    },
    logger,
  });

  let port: number;
  try {
    port = await listener.listen(options.port, host);
  } catch (error) {
    await new Promise<void>((resolve) => aedes.close(resolve));
    await persistence.destroy();
    throw error;
  }

  const sessionExpiryMs = options.sessionExpiryMs ?? 7 * 24 * HOUR_MS;
  const expiry = setInterval(async () => {
    try {
      const expired = await persistence.expireSessions(Date.now() - sessionExpiryMs);
      if (expired > 0) logger.info({ expired }, 'forgot MQTT sessions that stayed away too long');
    } catch (error) {
      logger.error({ err: error }, 'MQTT sessions could not be expired');
    }
  }, EXPIRY_CHECK_MS);

  let closing: Promise<void> | undefined;
  async function close(deadlineMs: number): Promise<void> {
    clearInterval(expiry);
    listener.stopAccepting();
    const closed = new Promise<void>((resolve) => aedes.close(resolve));
    await Promise.race([closed, Bun.sleep(deadlineMs)]);
    await listener.destroy();
    await persistence.destroy();
  }

  return {
    url: `mqtt://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    stats: () => ({
      connections: listener.connections(),
      ...persistence.counts(),
      ...ingest.stats(),
      ...counters,
      oversized: listener.oversized(),
    }),
    close(deadlineMs = 3_000) {
      closing ??= close(deadlineMs);
      return closing;
    },
  };
}

/** Below the socket's high-water mark, where a write would make its publisher wait. */
function isCongested(client: Client): boolean {
  return client.conn.writableLength > SOCKET_BUFFER_BYTES / 2;
}

/** Whether a client takes a message at QoS 0, where it may be left out, and not at a higher one too. */
function takesAtQos0(client: Client, packet: { topic: string; qos: number }): boolean {
  if (packet.qos === 0) return true;
  const { subscriptions } = client as unknown as { subscriptions: Record<string, { qos: number }> };
  return !Object.entries(subscriptions).some(
    ([filter, { qos }]) => qos > 0 && filterMatches(filter, packet.topic),
  );
}

function sparingLogs(logger: BrokerOptions['logger']) {
  return {
    dropped: createSparingLog<string>(LOG_EVERY_MS, (clientId, leftOut) =>
      logger.warn(
        { clientId, leftOut },
        'an MQTT session’s queue is full: its oldest message was dropped',
      ),
    ),
    skipped: createSparingLog<string>(LOG_EVERY_MS, (clientId, leftOut) =>
      logger.warn(
        { clientId, leftOut },
        'an MQTT subscriber is too slow: QoS 0 messages to it are left out',
      ),
    ),
    refusedMqtt5: createSparingLog<string>(LOG_EVERY_MS, (clientId, leftOut) =>
      logger.warn(
        { clientId, leftOut },
        'refused an MQTT 5 client: set protocolVersion 4 / use MQTT 3.1.1, or set MQTT_URL to a ' +
          'broker that speaks MQTT 5',
      ),
    ),
    appendFailed: createSparingLog<{
      client: Client | null;
      packet: BrokerPacket;
      error: unknown;
    }>(1_000, ({ client, packet, error }, leftOut) =>
      logger.error(
        { clientId: client?.id, topic: packet.topic, leftOut, err: error },
        'an MQTT message could not be made durable: not acknowledged, its connection is closed',
      ),
    ),
  };
}
