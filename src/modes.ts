/** The one place that knows which part is embedded and which is outside. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { asksForLogin } from './config/broker.ts';
import { kafkaSettings } from './config/kafka.ts';
import type { Config } from './config.ts';
import type { LogAppender, LogHealth, Source } from './domain/log.ts';
import type { Model } from './domain/model.ts';
import { compileTopic } from './domain/topic.ts';
import { startPostgres } from './embedded/postgres.ts';
import type { DeadLetterSink } from './engine/commit.ts';
import { runForOffice } from './engine/elect.ts';
import type { RefusedMessages } from './engine/refused-messages.ts';
import { openEmbeddedLog } from './engine/sources/embedded-log.ts';
import { createEmbeddedSource } from './engine/sources/embedded-source.ts';
import { bridgeFigures, brokerFigures, logFigures } from './figures.ts';
import { createBridge } from './mqtt/bridge.ts';
import { type BrokerOptions, startBroker } from './mqtt/broker.ts';
import type { MqttClientOptions } from './mqtt/client.ts';
import { createGuard, type Guard } from './mqtt/guard.ts';
import type { Releases } from './releases.ts';
import type { Figure } from './schema/metrics.ts';
import type { Sql } from './store/connection.ts';
import { LOCKS } from './store/migrations.ts';
import { mqttAccountsVersion, readMqttAccounts } from './store/mqtt-accounts.ts';

export interface Surroundings {
  config: Config;
  model: Model;
  /** Of the embedded parts; null where there are none. */
  dataDir: string | null;
  logger: Logger;
  /** Each part adds how it is ended. */
  releases: Releases;
  /** Aborted when the process is to stop: a start that is under way is given up. */
  signal: AbortSignal;
}

export interface Log {
  source: Source;
  appender: LogAppender;
  partitions(): number;
  health(): LogHealth;
  deadLetters?: DeadLetterSink;
  figures: Figure[];
}

export interface Mqtt {
  url: string;
  /** The embedded broker over TLS, where it has a port for that. */
  tlsUrl: string | null;
  /** How our own clients connect, but for their session. */
  client: Pick<MqttClientOptions, 'url' | 'protocolVersion' | 'username' | 'password' | 'tls'>;
  /** Whether what devices send reaches the log through this process. */
  isFlowing(): boolean;
  figures: Figure[];
}

/** It takes 10 s at the most to stop itself. */
const POSTGRES_STOP_MS = 12_000;
const BRIDGE_CLOSE_MS = 6_000;

/** Whether anything has to be kept in the data folder. */
export function needsDataFolder(config: Config): boolean {
  return config.databaseUrl === null || config.kafkaBrokers === null || config.mqttUrl === null;
}

/** @throws StartError */
export async function openDatabase({
  config,
  dataDir,
  logger,
  releases,
}: Surroundings): Promise<string> {
  if (config.databaseUrl !== null) return config.databaseUrl;
  const options = { dataDir: dataDir as string, port: config.postgresPort, logger };
  const postgres = await startPostgres(options);
  releases.add('PostgreSQL', () => postgres.stop(), POSTGRES_STOP_MS);
  return postgres.url;
}

/** @throws StartError */
export async function openLog(around: Surroundings, sql: Sql): Promise<Log> {
  const settings = kafkaSettings(around.config);
  if (settings === null) return await embeddedLog(around);
  // Its packages are loaded only where they are used: 7 MB of heap, 20 MB of memory.
  const { openKafkaLog } = await import('./kafka-log.ts');
  return await openKafkaLog(around, sql, settings);
}

async function embeddedLog({ config, dataDir, logger, releases }: Surroundings): Promise<Log> {
  const log = await openEmbeddedLog({
    file: join(dataDir as string, 'log.sqlite'),
    topic: config.kafkaTopic,
    partitions: config.logPartitions,
    retentionMs: config.logRetentionHours * 3_600_000,
    maxBytes: config.logMaxBytes,
    logger,
  });
  releases.add('log', () => log.close());
  return {
    source: createEmbeddedSource({ log, groupId: config.kafkaGroupId }),
    appender: log,
    partitions: () => log.partitions,
    health: () => log.health(),
    figures: logFigures(() => log.stats()),
  };
}

export interface MqttDeps {
  log: Log;
  refused: RefusedMessages;
  /** For short statements. */
  sql: Sql;
  openSession: () => Sql;
}

/** @throws StartError */
export async function openMqtt(around: Surroundings, deps: MqttDeps): Promise<Mqtt> {
  const { config, model, dataDir, logger, releases } = around;
  if (config.mqttUrl !== null) return outsideBroker(around, deps, config.mqttUrl);
  const guard = asksForLogin(config) ? openGuard(around, deps.sql) : undefined;
  const broker = await startBroker({
    port: config.mqttPort,
    host: config.mqttHost,
    guard,
    tls: brokerTls(config),
    dataFile: join(dataDir as string, 'mqtt.sqlite'),
    appender: deps.refused.appender,
    telemetry: compileTopic(model),
    maxPayloadBytes: config.maxPayloadBytes,
    maxConnections: config.mqttMaxConnections,
    limits: {
      maxRate: config.mqttMaxRate,
      maxTopicBytes: config.mqttMaxTopicBytes,
      maxTopicLevels: config.mqttMaxTopicLevels,
      maxSubscriptions: config.mqttMaxSubscriptions,
      maxSessions: config.mqttMaxSessions,
      maxRetainedBytes: config.mqttMaxRetainedBytes,
    },
    logger,
  });
  releases.add('MQTT broker', () => broker.close());
  const client = { url: ownUrl(broker.port, config.mqttHost), ...guard?.own };
  const figures = brokerFigures(() => broker.stats());
  return { url: broker.url, tlsUrl: broker.tlsUrl, client, isFlowing: () => true, figures };
}

function brokerTls(config: Config): BrokerOptions['tls'] {
  const { mqttsPort: port, mqttsHost: host, mqttsCert: cert, mqttsKey: key } = config;
  if (port === null || cert === null || key === null) return undefined;
  const namesByCertificate = config.mqttsCertUsername === 'on';
  return { port, host, cert, key, clientCa: config.mqttsClientCa ?? undefined, namesByCertificate };
}

/** Who may log in to the embedded broker, and to what, as the database has it. */
function openGuard({ logger, releases }: Surroundings, sql: Sql): Guard {
  const source = {
    version: () => mqttAccountsVersion(sql),
    read: (usernames: string[]) => readMqttAccounts(sql, usernames),
  };
  const guard = createGuard({ source, logger });
  releases.add('MQTT accounts', () => guard.close());
  return guard;
}

/** Where this process reaches its own broker, wherever that listens. */
function ownUrl(port: number, host: string): string {
  const here = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `mqtt://${here.includes(':') ? `[${here}]` : here}:${port}`;
}

function outsideBroker(around: Surroundings, deps: MqttDeps, url: string): Mqtt {
  const { config, model, logger, releases } = around;
  const client = {
    url,
    protocolVersion: Number(config.mqttVersion) as 4 | 5,
    username: config.mqttUsername ?? undefined,
    password: config.mqttPassword ?? undefined,
    tls: {
      ca: config.mqttTlsCa ?? undefined,
      cert: config.mqttTlsCert ?? undefined,
      key: config.mqttTlsKey ?? undefined,
    },
  };
  if (config.bridge === 'off') {
    return { url, tlsUrl: null, client, isFlowing: () => false, figures: [] };
  }
  const { bridgeSharedGroup } = config;
  const bridge = createBridge({
    ...client,
    clientId: bridgeClientId(config),
    telemetry: compileTopic(model),
    appender: deps.refused.appender,
    sharedGroup: bridgeSharedGroup ?? undefined,
    elect:
      bridgeSharedGroup !== null
        ? undefined
        : (term, signal) =>
            runForOffice({
              name: 'bridge',
              lock: LOCKS.bridge,
              openSession: deps.openSession,
              term,
              signal,
              logger,
            }),
    maxPacketBytes: Math.max(16 * config.maxPayloadBytes, 2 ** 20),
    onRejected: (message, error) => deps.refused.keep(message, error),
    logger,
  });
  bridge.start();
  releases.add('bridge', () => bridge.close(), BRIDGE_CLOSE_MS);
  const figures = bridgeFigures(() => bridge.stats());
  return { url, tlsUrl: null, client, isFlowing: () => bridge.flowing, figures };
}

/** One session for all replicas, of which one is elected; with a shared group one for each. */
function bridgeClientId({ kafkaGroupId, bridgeSharedGroup }: Config): string {
  const name = `${kafkaGroupId}-bridge`;
  // The name of a container or machine is the same after a restart, and so its queue is found again.
  return bridgeSharedGroup === null ? name : `${name}-${hostname()}`;
}
