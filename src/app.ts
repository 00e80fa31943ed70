import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { compileTopic } from './domain/topic.ts';
import { openDataFolder } from './embedded/data-folder.ts';
import { startPostgres } from './embedded/postgres.ts';
import { createEngine, type Engine } from './engine/index.ts';
import { createPublisher } from './engine/publish.ts';
import { createRuleBook } from './engine/rule-book.ts';
import { type EmbeddedLog, openEmbeddedLog } from './engine/sources/embedded-log.ts';
import { createEmbeddedSource } from './engine/sources/embedded-source.ts';
import { model } from './model.ts';
import { startBroker } from './mqtt/broker.ts';
import { connectMqtt } from './mqtt/client.ts';
import { createAuthenticate } from './schema/authenticate.ts';
import { startServer } from './schema/server.ts';
import { createAlertEventTail } from './store/alert-event-tail.ts';
import { connect } from './store/connection.ts';
import { migrate } from './store/migrate.ts';

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

type Release = () => Promise<void> | void;

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
  const folder = openDataFolder(config.dataDir);
  releases.push(() => folder.close());
  const databaseUrl =
    config.databaseUrl ?? (await startDatabase(config, folder.path, logger, releases));
  signal.throwIfAborted();
  const sql = connect(databaseUrl, { max: 10 });
  releases.push(() => sql.end({ timeout: 5 }));
  const applied = await migrate(sql, model);
  if (applied.length > 0) logger.info({ applied }, 'the schema is up to date');

  const log = await openEmbeddedLog({
    file: join(folder.path, 'log.sqlite'),
    topic: config.kafkaTopic,
    partitions: config.logPartitions,
    retentionMs: config.logRetentionHours * 3_600_000,
    maxBytes: config.logMaxBytes,
    logger,
  });
  releases.push(() => log.close());
  const rules = createRuleBook({ sql, model, logger });
  await rules.start();
  releases.push(() => rules.close());
  const tail = createAlertEventTail({ sql, logger });
  await tail.start();
  releases.push(() => tail.close());

  const engine = createEngine(
    {
      source: createEmbeddedSource({ log, groupId: config.kafkaGroupId }),
      sql,
      openSql: () => connect(databaseUrl, { max: 2, applicationName: 'pulsegraph-lane' }),
      rules,
      tail,
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
  signal.throwIfAborted();
  await engine.start();
  releases.push(() => engine.stop(config.shutdownDeadlineMs));

  const broker = await startBroker({
    // Without passwords it stays on loopback, wherever the API listens.
    port: config.mqttPort,
    dataFile: join(folder.path, 'mqtt.sqlite'),
    appender: log,
    telemetry: compileTopic(model.topic),
    maxPayloadBytes: config.maxPayloadBytes,
    logger,
  });
  releases.push(() => broker.close());
  const publisher = createPublisher({
    sql,
    openSession: () =>
      connect(config.databaseDirectUrl ?? databaseUrl, {
        max: 1,
        applicationName: 'pulsegraph-publisher',
        keepSession: true,
      }),
    connectMqtt: (session) => connectMqtt({ url: broker.url, logger, ...session }),
    tail,
    ruleBook: rules,
    model,
    logger,
  });
  publisher.start();
  releases.push(() => publisher.close());
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
    mqttUrl: broker.url,
    databaseUrl,
    dataDir: folder.path,
    stop: () => release(releases, logger),
  };
}

async function startDatabase(
  config: Config,
  dataDir: string,
  logger: Logger,
  releases: Release[],
): Promise<string> {
  const postgres = await startPostgres({ dataDir, port: config.postgresPort, logger });
  releases.push(() => postgres.stop());
  return postgres.url;
}

async function waitFor(check: () => boolean, withinMs: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!check() && !signal.aborted && performance.now() < deadline) await sleep(5);
}

/** Whether this process can take in readings and store them. */
function readiness(engine: Engine, log: EmbeddedLog): { ok: boolean; reason?: string } {
  const health = log.health();
  if (!health.ok) return health;
  const { lanes } = engine.status();
  const troubled = lanes.find((lane) => lane.state !== 'RUNNING');
  if (troubled === undefined) return { ok: true };
  const { partition, state, problem } = troubled;
  return { ok: false, reason: `partition ${partition} is ${state}: ${problem ?? 'not yet open'}` };
}
