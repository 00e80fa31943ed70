import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { type Child, exitOf, type Settings, spawnApp } from './app.ts';
import { noKafka, type TestKafka, testKafka } from './kafka.ts';
import { type Mosquitto, noMosquitto, startMosquitto } from './mosquitto.ts';
import { noPgBouncer, type PgBouncer, startPgBouncer } from './pgbouncer.ts';
import { eventually } from './process.ts';

/** `describe.skipIf(noCluster)`: never under CI, where all of it has to be there. */
export const noCluster = noKafka || noMosquitto || noPgBouncer;

/** One process of several, as a child. */
export interface Replica {
  readonly name: string;
  readonly pid: number;
  /** With the path /graphql; the same over a restart. */
  readonly graphqlUrl: string;
  isAlive(): boolean;
  /** What it has logged since its last start, one line of JSON each. */
  log(): string;
  /** SIGKILL; resolves when it is gone. */
  kill9(): Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
  /** On the same port, after `kill9` or `stop`. */
  restart(): Promise<void>;
}

/** What several replicas run on, each part real and of its own, but for Kafka's broker. */
export interface Cluster {
  readonly kafka: TestKafka;
  readonly topic: string;
  readonly dlqTopic: string;
  readonly groupId: string;
  readonly mosquitto: Mosquitto;
  readonly pgbouncer: PgBouncer;
  readonly databaseUrl: string;
  /** A pool past the pooler, for the test's own statements. */
  readonly sql: Sql;
  readonly replicas: readonly Replica[];
  /** Starts one more and waits until it is ready. */
  join(settings?: Settings): Promise<Replica>;
  /** Starts PostgreSQL anew on its port: `SIGINT` is a fast shutdown, `SIGKILL` a crash. */
  restartPostgres(signal?: 'SIGINT' | 'SIGKILL'): Promise<void>;
  close(): Promise<void>;
}

const START_DEADLINE_MS = 60_000;
const QUIET = pino({ level: 'silent' });
let count = 0;

/**
 * Starts Mosquitto, PostgreSQL and PgBouncer, then `replicas` processes at once, which make their
 * topics themselves.
 */
export async function startCluster(
  options: { replicas?: number; partitions?: number; settings?: Settings } = {},
): Promise<Cluster> {
  const { replicas: wanted = 0, partitions = 6, settings = {} } = options;
  const releases: (() => unknown)[] = [];
  const close = async () => {
    for (const release of releases.splice(0).reverse()) await release();
  };
  try {
    const kafka = await testKafka();
    const topic = `replicas-${process.pid}-${++count}`;
    const dlqTopic = `${topic}-dlq`;
    releases.push(() => kafka.admin.deleteTopics({ topics: [topic, dlqTopic] }).catch(() => {}));
    const mosquitto = await startMosquitto();
    releases.push(() => mosquitto.remove());
    const postgres = await ownPostgres(releases);
    const pgbouncer = await startPgBouncer(postgres.url, { poolSize: 20 });
    releases.push(() => pgbouncer.remove());
    const sql = connect(postgres.url, { max: 4, applicationName: 'test' });
    releases.push(() => sql.end({ timeout: 1 }));
    const replicas: Replica[] = [];
    const env = {
      KAFKA_BROKERS: kafka.brokers.join(','),
      KAFKA_TOPIC: topic,
      KAFKA_DLQ_TOPIC: dlqTopic,
      KAFKA_GROUP_ID: topic,
      KAFKA_PARTITIONS: String(partitions),
      MQTT_URL: mosquitto.url,
      DATABASE_URL: pgbouncer.url,
      DATABASE_DIRECT_URL: postgres.url,
      ...settings,
    };
    const join = async (more: Settings = {}) => {
      const name = `replica ${replicas.length + 1}`;
      const replica = createReplica(name, { ...env, ...more });
      replicas.push(replica);
      // At the end they go together, as nobody takes over any more.
      releases.push(() => replica.kill9());
      await replica.start();
      return replica;
    };
    await Promise.all(Array.from({ length: wanted }, () => join()));
    return {
      kafka,
      topic,
      dlqTopic,
      groupId: env.KAFKA_GROUP_ID,
      mosquitto,
      pgbouncer,
      databaseUrl: postgres.url,
      sql,
      replicas,
      join,
      restartPostgres: (signal) => restartPostgres(postgres, signal),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function ownPostgres(releases: (() => unknown)[]): Promise<EmbeddedPostgres> {
  const dataDir = mkdtempSync(join(tmpdir(), 'pulsegraph-cluster-'));
  releases.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const postgres = await startPostgres({
    dataDir,
    port: 0,
    logger: QUIET,
    maxConnections: 100,
    // What was committed has to outlive the process, not the machine.
    settings: { fsync: 'off' },
  });
  releases.push(() => postgres.stop(2_000));
  return postgres;
}

async function restartPostgres(
  postgres: EmbeddedPostgres,
  signal: 'SIGINT' | 'SIGKILL' = 'SIGINT',
): Promise<void> {
  const before = postgres.pid();
  process.kill(before, signal);
  await eventually('PostgreSQL is back', () => postgres.pid() !== before, START_DEADLINE_MS);
}

/** Where /readyz has said ok, or the reason why it ended. */
async function ready(name: string, child: Child): Promise<string> {
  let graphqlUrl: string | undefined;
  let problem = 'no banner yet';
  await eventually(
    `${name} is ready`,
    async () => {
      const { exitCode } = child.process;
      if (exitCode !== null) throw new Error(`it ended with ${exitCode}: ${child.text.stderr}`);
      graphqlUrl ??= /^ {2}GraphiQL +(\S+)/m.exec(child.text.stdout)?.[1];
      if (graphqlUrl === undefined) return false;
      const answer = await fetch(new URL('/readyz', graphqlUrl));
      problem = await answer.text();
      return answer.ok;
    },
    START_DEADLINE_MS,
  ).catch((error: Error) => {
    const said = child.text.stdout + child.text.stderr;
    throw new Error(`${error.message} (${problem})\n${said.slice(-4_000)}`);
  });
  return graphqlUrl as string;
}

function createReplica(name: string, env: Settings): Replica & { start(): Promise<void> } {
  let graphqlUrl = '';
  let child: Child;

  async function start(): Promise<void> {
    const port = graphqlUrl === '' ? '0' : new URL(graphqlUrl).port;
    child = spawnApp({ ...env, PORT: port });
    graphqlUrl = await ready(name, child);
  }

  return {
    name,
    get pid() {
      return child.process.pid;
    },
    get graphqlUrl() {
      return graphqlUrl;
    },
    isAlive: () => child.process.exitCode === null && child.process.signalCode === null,
    log: () => child.text.stdout + child.text.stderr,
    start,
    async kill9() {
      child.process.kill('SIGKILL');
      await child.process.exited;
    },
    async stop() {
      child.process.kill('SIGTERM');
      return await exitOf(child, START_DEADLINE_MS);
    },
    restart: start,
  };
}
