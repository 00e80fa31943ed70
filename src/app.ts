import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { openDataFolder } from './embedded/data-folder.ts';
import { createHeartbeat } from './engine/heartbeat.ts';
import { createEngine, type Engine } from './engine/index.ts';
import { createJanitor, type Retention } from './engine/janitor.ts';
import { createPublisher } from './engine/publish.ts';
import { createRefusedMessages } from './engine/refused-messages.ts';
import { createRuleBook } from './engine/rule-book.ts';
import { model } from './model.ts';
import {
  type Log,
  needsDataFolder,
  openDatabase,
  openLog,
  openMqtt,
  type Release,
  type Surroundings,
} from './modes.ts';
import { connectMqtt } from './mqtt/client.ts';
import { createAuthenticate } from './schema/authenticate.ts';
import { startServer } from './schema/server.ts';
import { createAlertEventTail } from './store/alert-event-tail.ts';
import { connect, type Sql } from './store/connection.ts';
import { migrate } from './store/migrate.ts';
import { createNotifications } from './store/notifications.ts';

type NotifyListener = (channel: string, payload: string) => void;

/** Where a started process can be reached. */
export interface App {
  graphqlUrl: string;
  mqttUrl: string;
  /** With its password, if it has one. */
  databaseUrl: string;
  dataDir: string | null;
  /** Reverse of the start: no new work, what was read is written, then the parts close. */
  stop(): Promise<void>;
}

const MAX_CACHED_DEVICES = 50_000;
const FEED_CAPACITY = 10_000;
/** Where another replica is elected, it never happens. */
const SUBSCRIBED_WITHIN_MS = 2_000;

/**
 * Starts every part in order; where one fails or the signal aborts, those before it are stopped
 * again.
 *
 * @throws StartError that says in one line what to do
 */
export async function startApp(config: Config, logger: Logger, signal: AbortSignal): Promise<App> {
  const releases: Release[] = [];
  try {
    return await startParts(config, logger, releases, signal);
  } catch (error) {
    await release(releases, logger);
    throw error;
  }
}

async function release(releases: Release[], logger: Logger): Promise<void> {
  for (const stop of releases.splice(0).reverse()) {
    try {
      await stop();
    } catch (error) {
      logger.error({ err: error }, 'a part did not stop cleanly');
    }
  }
}

async function startParts(
  config: Config,
  logger: Logger,
  releases: Release[],
  signal: AbortSignal,
): Promise<App> {
  const dataDir = needsDataFolder(config) ? takeDataFolder(config, releases) : null;
  const around: Surroundings = { config, dataDir, logger, releases };
  const databaseUrl = await openDatabase(around);
  signal.throwIfAborted();
  const directUrl = config.databaseDirectUrl ?? databaseUrl;
  const sql = connect(databaseUrl, { max: 10 });
  releases.push(() => sql.end({ timeout: 5 }));
  const openSession = (onNotify?: NotifyListener) =>
    connect(directUrl, {
      max: 1,
      applicationName: 'pulsegraph-session',
      keepSession: true,
      onNotify,
    });
  await migrateOver(openSession(), logger);

  const log = await openLog(around, sql);
  const { rules, tail } = await followDatabase({ sql, openSession, logger, releases });
  signal.throwIfAborted();
  const engine = createEngine(
    {
      source: log.source,
      sql,
      openSql: () => connect(databaseUrl, { max: 2, applicationName: 'pulsegraph-lane' }),
      rules,
      tail,
      deadLetters: log.deadLetters,
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
  await engine.start();
  releases.push(() => engine.stop(config.shutdownDeadlineMs));

  const refused = createRefusedMessages({ appender: log.appender, logger });
  const mqtt = await openMqtt(around, { log, refused, openSession });
  startInOrder(releases, [
    createHeartbeat({
      appender: log.appender,
      partitions: log.partitions,
      isFlowing: mqtt.isFlowing,
      logger,
    }),
    createJanitor({ sql, openSession, model, retention: retention(config), logger }),
  ]);
  const publisher = createPublisher({
    sql,
    openSession,
    connectMqtt: (session) => connectMqtt({ ...mqtt.client, logger, ...session }),
    tail,
    ruleBook: rules,
    model,
    logger,
  });
  startInOrder(releases, [publisher]);
  // A config sent to a topic that nobody has subscribed yet would be lost.
  await waitFor(() => publisher.subscribed, SUBSCRIBED_WITHIN_MS, signal);
  signal.throwIfAborted();
  const server = await startServer({
    host: config.host,
    port: config.port,
    sql,
    model,
    tail,
    rules,
    feed: engine.feed,
    engineStatus: engine.status,
    readiness: () => readiness(engine, log),
    authenticate: config.authJwtSecret === null ? null : createAuthenticate(config.authJwtSecret),
    logger,
  });
  releases.push(() => server.close());

  return {
    graphqlUrl: `${server.url}/graphql`,
    mqttUrl: mqtt.url,
    databaseUrl,
    dataDir,
    stop: () => release(releases, logger),
  };
}

function takeDataFolder(config: Config, releases: Release[]): string {
  const folder = openDataFolder(config.dataDir);
  releases.push(() => folder.close());
  return folder.path;
}

async function migrateOver(session: Sql, logger: Logger): Promise<void> {
  try {
    const applied = await migrate(session, model);
    if (applied.length > 0) logger.info({ applied }, 'the schema is up to date');
  } finally {
    await session.end({ timeout: 5 });
  }
}

/** What this process knows of rules and alerts, whoever changes them: by polls, and by LISTEN. */
async function followDatabase(deps: {
  sql: Sql;
  openSession: (onNotify?: NotifyListener) => Sql;
  logger: Logger;
  releases: Release[];
}) {
  const { sql, openSession, logger, releases } = deps;
  const rules = createRuleBook({ sql, model, logger });
  await rules.start();
  releases.push(() => rules.close());
  const tail = createAlertEventTail({ sql, logger });
  await tail.start();
  releases.push(() => tail.close());
  const notifications = createNotifications({
    openSession,
    logger,
    onAlertEvents: () => tail.poke(),
    onRuleChange: () => rules.poke(),
  });
  startInOrder(releases, [notifications]);
  return { rules, tail };
}

interface Startable {
  start(): void;
  close(): Promise<void>;
}

function startInOrder(releases: Release[], parts: readonly Startable[]): void {
  for (const part of parts) {
    part.start();
    releases.push(() => part.close());
  }
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
