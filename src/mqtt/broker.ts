import './packet-numbers.ts';
import { Aedes, type Client } from 'aedes';
import type { Logger } from 'pino';
import type { LogAppender } from '../domain/log.ts';
import type { TopicPattern } from '../domain/topic.ts';
import { type BrokerLog, createBrokerLog } from './broker-log.ts';
import { createDelivery } from './delivery.ts';
import { createDoor } from './door.ts';
import type { Guard } from './guard.ts';
import { createInFlight, type InFlight } from './in-flight.ts';
import { createInflow, type Inflow } from './inflow.ts';
import { createIngest, type Ingest } from './ingest.ts';
import { type BrokerLimits, DEFAULT_LIMITS } from './limits.ts';
import { createMqttListener, type ListenerTls, type MqttListener } from './listener.ts';
import { createPersistence, type Persistence } from './persistence.ts';
import { createRate } from './rate.ts';

export interface BrokerOptions {
  /** 0 takes a free one. */
  port: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** Without, whoever reaches the port is the operator. */
  guard?: Guard;
  /** A second port, for TLS. */
  tls?: ListenerTls & {
    port: number;
    host: string /** See door.ts. */;
    namesByCertificate: boolean;
  };
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
  limits?: Partial<BrokerLimits>;
  /** How long a connection may push against `limits.maxRate`; default a minute. */
  ratePatienceMs?: number;
  /** A session that stays away longer is forgotten; default 7 days. */
  sessionExpiryMs?: number;
  /** A session's queue drops its oldest message above this; default 100,000. */
  maxQueuedMessages?: number;
  /** How much of a connection may be unfinished before its socket isn't read; 512 and 1 MiB. */
  maxInflowMessages?: number;
  maxInflowBytes?: number;
  /** The same of all connections together; 32 MiB. */
  maxInFlightBytes?: number;
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
  refusedLogins: number;
  oversized: number;
  /** Of messages that were read from sockets and aren't acknowledged yet. */
  inFlightBytes: number;
}

export interface Broker {
  url: string;
  port: number;
  /** Of the port for TLS; null without. */
  tlsUrl: string | null;
  stats(): BrokerStats;
  /** Closes every connection, waits for what is being written, and closes the file. */
  close(deadlineMs?: number): Promise<void>;
}

const HOUR_MS = 3_600_000;
const EXPIRY_CHECK_MS = 60_000;

type Counters = Pick<BrokerStats, 'dropped' | 'skipped' | 'refusedMqtt5'>;

/** What the parts of one broker share. */
interface Parts {
  options: BrokerOptions;
  counters: Counters;
  log: BrokerLog;
  persistence: Persistence;
  /** Each connection's unfinished messages. */
  inflows: WeakMap<object, Inflow>;
  inFlight: InFlight;
}

/**
 * An MQTT 3.1.1 broker in the process. A message that goes into the log is acknowledged once the
 * log has it on disk; any other QoS 1 or 2 message once the queues it goes to have.
 *
 * @throws StartError when the port is taken or the file is in use
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { host = '127.0.0.1' } = options;
  const counters: Counters = { dropped: 0, skipped: 0, refusedMqtt5: 0 };
  const log = createBrokerLog(options.logger);
  const persistence = createPersistence({
    file: options.dataFile,
    maxQueuedMessages: options.maxQueuedMessages,
    onDropped(clientId) {
      counters.dropped++;
      log.dropped(clientId);
    },
    onWriteError: log.writeFailed,
  });
  const inFlight = createInFlight(options.maxInFlightBytes ?? 32 * 2 ** 20);
  const inflows = new WeakMap<object, Inflow>();
  const parts: Parts = { options, counters, log, persistence, inflows, inFlight };
  const { aedes, ingest } = await createAedes(parts);
  const listener = listenerFor(aedes, parts);
  const closeAedes = () => new Promise<void>((resolve) => aedes.close(resolve));

  const { tls } = options;
  let port: number;
  let tlsPort: number | undefined;
  try {
    port = await listener.listen(options.port, host);
    if (tls) tlsPort = await listener.listen(tls.port, tls.host, tls);
  } catch (error) {
    await listener.destroy();
    await closeAedes();
    await persistence.destroy();
    throw error;
  }
  const stopExpiry = expireSessions(parts);

  async function close(deadlineMs: number): Promise<void> {
    stopExpiry();
    listener.stopAccepting();
    const deadline = Promise.withResolvers<void>();
    const timer = setTimeout(deadline.resolve, deadlineMs);
    await Promise.race([closeAedes(), deadline.promise]);
    clearTimeout(timer);
    await listener.destroy();
    await persistence.destroy();
  }
  let closing: Promise<void> | undefined;

  return {
    url: urlOf('mqtt', host, port),
    port,
    tlsUrl: tls && tlsPort !== undefined ? urlOf('mqtts', tls.host, tlsPort) : null,
    stats: () => ({
      connections: listener.connections(),
      ...persistence.counts(),
      ...ingest.stats(),
      ...counters,
      refusedLogins: options.guard?.refusedLogins() ?? 0,
      oversized: listener.oversized(),
      inFlightBytes: inFlight.bytes,
    }),
    close(deadlineMs = 3_000) {
      closing ??= close(deadlineMs);
      return closing;
    },
  };
}

function limitsOf({ limits }: BrokerOptions): BrokerLimits {
  return { ...DEFAULT_LIMITS, ...limits };
}

function urlOf(scheme: string, host: string, port: number): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The broker proper, with what Pulsegraph decides for it. */
async function createAedes(parts: Parts): Promise<{ aedes: Aedes; ingest: Ingest }> {
  const { options, counters, log, persistence, inflows } = parts;
  const { guard } = options;
  const door = createDoor({
    ...{ guard, persistence, log, counters },
    limits: limitsOf(options),
    namesByCertificate: options.tls?.namesByCertificate ?? false,
    onOwn: (client) => inflows.get(client)?.rate?.lift(),
  });
  const ingest = createIngest({
    appender: options.appender,
    telemetry: options.telemetry,
    persistence,
    refusal: door.refusal,
    inflowOf: (client) => (client ? inflows.get(client) : undefined),
    inFlight: parts.inFlight,
    identity: () => ({ brokerId: aedes.id, brokerCounter: ++numbers.counter }),
    onFailure: (client, packet, error) => log.appendFailed({ client, packet, error }),
  });
  const delivery = createDelivery(persistence, guard, (clientId) => {
    counters.skipped++;
    log.skipped(clientId);
  });
  const aedes = await Aedes.createBroker({
    persistence,
    // Without a limit of its own: each connection has one, and a shared one would let a single
    // frozen subscriber use it up and stall everybody.
    concurrency: 0,
    drainTimeout: options.drainTimeoutMs ?? 2_000,
    connectTimeout: 10_000,
    ...door.hooks,
    authorizePublish: ingest.authorizePublish,
    published: ingest.published,
    authorizeForward: delivery.authorizeForward,
  });
  const numbers = aedes as unknown as { counter: number };
  persistence.adoptSessions(Date.now());
  aedes.on('client', (client) => persistence.sessionConnected(client.id, client.clean));
  aedes.on('unsubscribe', (filters, client) => door.unsubscribed(client, filters));
  aedes.on('clientDisconnect', (client) => persistence.sessionDisconnected(client.id, Date.now()));
  log.follow(aedes);
  return { aedes, ingest };
}

function listenerFor(aedes: Aedes, { options, inflows, inFlight }: Parts): MqttListener {
  const limits = {
    maxMessages: options.maxInflowMessages ?? 512,
    maxBytes: options.maxInflowBytes ?? 1024 * 1024,
    inFlight,
  };
  return createMqttListener({
    maxConnections: options.maxConnections ?? 10_000,
    maxPacketBytes: Math.max(16 * options.maxPayloadBytes, 1024 * 1024),
    createInflow(onRoom, onAbuse) {
      if (!options.guard) return createInflow(limits, onRoom);
      const { maxRate: perSecond } = limitsOf(options);
      const patienceMs = options.ratePatienceMs;
      const rate = createRate({ perSecond, onRoom, onAbuse, patienceMs });
      return createInflow(limits, onRoom, rate);
    },
    handle(socket, inflow): Client {
      const client = aedes.handle(socket);
      inflows.set(client, inflow);
      return client;
    },
    logger: options.logger,
  });
}

/** Forgets sessions that stay away too long, now and then. Returns how to stop. */
function expireSessions({ options, log, persistence }: Parts): () => void {
  const sessionExpiryMs = options.sessionExpiryMs ?? 7 * 24 * HOUR_MS;
  const timer = setInterval(
    () => {
      persistence.expireSessions(Date.now() - sessionExpiryMs).then(log.expired, log.writeFailed);
    },
    Math.min(EXPIRY_CHECK_MS, sessionExpiryMs),
  );
  return () => clearInterval(timer);
}
