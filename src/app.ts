import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { type Database, explained, startDatabase } from './database.ts';
import type { Model } from './domain/model.ts';
import { orAborted } from './domain/or-aborted.ts';
import { openDataFolder } from './embedded/data-folder.ts';
import { createDecoder } from './engine/decode.ts';
import { createHeartbeat } from './engine/heartbeat.ts';
import { createEngine, type Engine } from './engine/index.ts';
import { createIngestWatch } from './engine/ingest-watch.ts';
import { createJanitor, type Retention } from './engine/janitor.ts';
import { createPublisher } from './engine/publish.ts';
import { createRefusedMessages } from './engine/refused-messages.ts';
import { createRuleBook, type RuleBook } from './engine/rule-book.ts';
import type { Tracer } from './engine/tracer.ts';
import { databaseFigures } from './figures.ts';
import { loadModel } from './load-model.ts';
import {
  type Log,
  type Mqtt,
  needsDataFolder,
  openLog,
  openMqtt,
  type Surroundings,
} from './modes.ts';
import { connectMqtt } from './mqtt/client.ts';
import { openTracing } from './open-tracing.ts';
import { createReleases, type Releases } from './releases.ts';
import { type Authenticate, createAuthenticate } from './schema/authenticate.ts';
import { startServer } from './schema/server.ts';
import { type AlertEventTail, createAlertEventTail } from './store/alert-event-tail.ts';
import { createNotifications } from './store/notifications.ts';
import { ANOTHER_PUBLISHES, warningsOf } from './warnings.ts';
import { createDashboard } from './web/serve.ts';

/** Where a started process can be reached. */
export interface App {
  model: Model;
  graphqlUrl: string;
  mqttUrl: string;
  /** The embedded broker over TLS; null without. */
  mqttsUrl: string | null;
  /** With its password, if it has one. */
  databaseUrl: string;
  dataDir: string | null;
  /** Reverse of the start: no new work, what was read is written, then the parts close. */
  stop(): Promise<void>;
}

/** About 70 MB where each has five rules. */
const MAX_CACHED_DEVICES = 120_000;
const FEED_CAPACITY = 10_000;
/** Where another replica is elected, it never happens. */
const SUBSCRIBED_WITHIN_MS = 2_000;

/** Beyond its own deadline, by which lanes have given up: the log is committed to and left. */
const ENGINE_CLOSE_MS = 5_000;
/** A statement of a database that hangs is not waited for: what it did not do is done again. */
const FOLLOWER_CLOSE_MS = 500;
/** It says goodbye to the broker, and gives its office back. */
const PUBLISHER_CLOSE_MS = 2_500;

/**
 * Starts every part in order; where one fails or the signal aborts, those before it are stopped
 * again.
 *
 * @throws StartError that says in one line what to do
 */
export async function startApp(config: Config, logger: Logger, signal: AbortSignal): Promise<App> {
  const model = await loadModel(config);
  const releases = createReleases(logger);
  try {
    const dataDir = needsDataFolder(config) ? takeDataFolder(config, releases) : null;
    return await startParts({ config, model, dataDir, logger, releases, signal });
  } catch (error) {
    await releases.releaseAll();
    throw error;
  }
}

async function startParts(around: Surroundings): Promise<App> {
  const { config, model, dataDir, logger, releases, signal } = around;
  for (const warning of warningsOf(config)) logger.warn(warning);
  const tracer = await openTracing(around);
  const database = await startDatabase(around);
  const log = await openLog(around, database.followSql);
  signal.throwIfAborted();
  const { rules, tail } = await followDatabase(around, database);
  const engine = await startEngine(around, { database, log, rules, tail, tracer });

  const { sql, followSql, openSession } = database;
  const watched = { sql: followSql, source: log.source, engineStatus: engine.status, logger };
  const ingest = createIngestWatch(watched);
  releases.add('ingest watch', async () => ingest.close());
  const appender = tracer?.appender(log.appender) ?? log.appender;
  const refused = createRefusedMessages({ appender, logger });
  const mqtt = await openMqtt(around, { log, refused, sql: followSql, openSession });
  const { partitions } = log;
  const { isFlowing } = mqtt;
  const heartbeat = createHeartbeat({ appender: log.appender, partitions, isFlowing, logger });
  startPart(releases, 'heartbeat', heartbeat);
  const janitor = { sql, openSession, model, retention: retention(config), logger };
  startPart(releases, 'janitor', createJanitor(janitor), FOLLOWER_CLOSE_MS);
  await startPublisher(around, { database, mqtt, rules, tail, tracer });
  const server = await startServer({
    host: config.host,
    port: config.port,
    sql,
    model,
    tail,
    rules,
    feed: engine.feed,
    engineStatus: engine.status,
    ingest,
    figures: [...databaseFigures({ sql: followSql, rules }), ...log.figures, ...mqtt.figures],
    appender,
    tracer,
    decode: createDecoder(model, config),
    readiness: () => readiness(engine, log),
    // Its documents are not among those persisted.
    dashboard: config.persistedOnly === 'on' ? undefined : createDashboard({ model }),
    authenticate: authentication(config, logger),
    allowedOrigins: config.allowedOrigins,
    tls: httpsOf(config),
    introspection: config.introspection === 'on',
    persisted: {
      documents: config.persistedDocuments ?? {},
      only: config.persistedOnly === 'on',
    },
    requestTimeoutMs: config.requestTimeoutMs,
    maxWebSockets: config.maxWebSockets,
    maxSubscriptions: config.maxSubscriptions,
    logger,
  });
  releases.add('API', () => server.close());
  return {
    model,
    graphqlUrl: `${server.url}/graphql`,
    mqttUrl: mqtt.url,
    mqttsUrl: mqtt.tlsUrl,
    databaseUrl: database.url,
    dataDir,
    stop: () => releases.releaseAll(),
  };
}

function authentication(config: Config, logger: Logger): Authenticate | null {
  const { authJwtSecret: secret, authJwksUrl, authIssuer: issuer, authAudience: audience } = config;
  if (secret === null && authJwksUrl === null) return null;
  const keys = secret === null ? { jwksUrl: authJwksUrl as string } : { secret };
  return createAuthenticate({ keys, issuer, audience, logger });
}

function httpsOf({ httpsCert: cert, httpsKey: key, httpsClientCa: clientCa }: Config) {
  return cert === null || key === null ? null : { cert, key, clientCa };
}

function takeDataFolder(config: Config, releases: Releases): string {
  const folder = openDataFolder(config.dataDir);
  releases.add('data folder', () => folder.close());
  return folder.path;
}

interface Followers {
  rules: RuleBook;
  tail: AlertEventTail;
  tracer?: Tracer | undefined;
}

/** What this process knows of rules and alerts, whoever changes them: by polls, and by LISTEN. */
async function followDatabase(
  { config, model, logger, releases, signal }: Surroundings,
  { followSql: sql, openSession }: Database,
): Promise<Followers> {
  const rules = createRuleBook({ sql, model, logger });
  releases.add('rule book', () => rules.close(), FOLLOWER_CLOSE_MS);
  await orAborted(signal, rules.start());
  const tail = createAlertEventTail({ sql, logger });
  releases.add('alert event tail', () => tail.close(), FOLLOWER_CLOSE_MS);
  try {
    await orAborted(signal, tail.start());
  } catch (error) {
    throw explained(error, config);
  }
  const notifications = createNotifications({
    openSession,
    logger,
    onAlertEvents: tail.poke,
    onRuleChange: () => rules.poke(),
  });
  startPart(releases, 'notifications', notifications);
  return { rules, tail };
}

async function startEngine(
  { config, model, logger, releases, signal }: Surroundings,
  { database, log, rules, tail, tracer }: Followers & { database: Database; log: Log },
): Promise<Engine> {
  const engine = createEngine(
    {
      source: log.source,
      sql: database.sql,
      openSql: database.openLane,
      openGroupSql: database.openGroup,
      rules,
      tail,
      deadLetters: log.deadLetters,
      tracer,
      model,
      logger,
    },
    {
      policy: { maxRows: config.batchMaxRows, maxWaitMs: config.batchMaxWaitMs },
      maxPayloadBytes: config.maxPayloadBytes,
      maxClockSkew: config.maxClockSkewMs * 1_000,
      maxCachedDevices: MAX_CACHED_DEVICES,
      feedCapacity: FEED_CAPACITY,
    },
  );
  const deadlineMs = config.shutdownDeadlineMs;
  // Before the start: one that hangs is to be stopped too.
  releases.add('engine', () => engine.stop(deadlineMs), deadlineMs + ENGINE_CLOSE_MS);
  await orAborted(signal, engine.start());
  return engine;
}

async function startPublisher(
  { config, model, logger, releases, signal }: Surroundings,
  { database, mqtt, rules, tail, tracer }: Followers & { database: Database; mqtt: Mqtt },
): Promise<void> {
  const publisher = createPublisher({
    sql: database.followSql,
    openSession: database.openSession,
    connectMqtt: (session) => connectMqtt({ ...mqtt.client, logger, ...session }),
    tail,
    ruleBook: rules,
    tracer,
    model,
    logger,
    name: config.kafkaGroupId,
  });
  startPart(releases, 'publisher', publisher, PUBLISHER_CLOSE_MS);
  // A config sent to a topic that nobody has subscribed yet would be lost.
  await waitFor(() => publisher.subscribed, SUBSCRIBED_WITHIN_MS, signal);
  signal.throwIfAborted();
  if (config.mqttUrl === null && !publisher.elected) logger.warn(ANOTHER_PUBLISHES);
}

interface Startable {
  start(): void;
  close(): Promise<void>;
}

function startPart(releases: Releases, name: string, part: Startable, closeMs?: number): void {
  part.start();
  releases.add(name, () => part.close(), closeMs);
}

function retention(config: Config): Retention {
  return {
    readings: config.retentionDays,
    alerts: config.alertRetentionDays,
    alertEvents: config.eventRetentionDays,
    deadLetters: config.deadLetterRetentionDays,
    ruleChanges: config.ruleRetentionDays,
  };
}

async function waitFor(check: () => boolean, withinMs: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!check() && !signal.aborted && performance.now() < deadline) await sleep(5);
}

/** Whether this process can take in readings and store them. */
function readiness(engine: Engine, log: Log): { ok: boolean; reason?: string } {
  const health = log.health();
  if (!health.ok) return health;
  const { lanes } = engine.status();
  const troubled = lanes.find((lane) => lane.state !== 'RUNNING');
  if (troubled === undefined) return { ok: true };
  const { partition, state, problem } = troubled;
  return { ok: false, reason: `partition ${partition} is ${state}: ${problem ?? 'not yet open'}` };
}
