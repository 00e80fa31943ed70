import type { SubscriptionArgs } from 'graphql';
import { type Client, createClient } from 'graphql-ws';
import pino from 'pino';
import { formatMicros, type Micros } from '../../src/domain/time.ts';
import { createDecoder } from '../../src/engine/decode.ts';
import { createIngestWatch } from '../../src/engine/ingest-watch.ts';
import { createMeasures } from '../../src/engine/measures.ts';
import { createReadingFeed, type ReadingFeed } from '../../src/engine/reading-feed.ts';
import type { EngineStatus } from '../../src/engine/status.ts';
import { model } from '../../src/model.ts';
import type { SchemaDeps } from '../../src/schema/context.ts';
import { type HttpServer, type ServerOptions, startServer } from '../../src/schema/server.ts';
import { sharedResults } from '../../src/schema/shared-results.ts';
import { type AlertEventTail, createAlertEventTail } from '../../src/store/alert-event-tail.ts';
import { connect, type Sql, type TransactionSql } from '../../src/store/connection.ts';
import { LOCKS } from '../../src/store/migrations.ts';
import { testDatabase } from '../support/postgres.ts';

export const silent = pino({ level: 'silent' });

export interface Stage {
  /** For the test's own statements. */
  sql: Sql;
  url: string;
  tail: AlertEventTail;
  feed: ReadingFeed;
  server: HttpServer;
  /** What the server's resolvers work on. */
  deps: SchemaDeps;
  /** Statements that the server has sent so far. */
  statements: () => string[];
  query: (query: string, variables?: object) => Promise<Answer>;
  client: () => Client;
  close: () => Promise<void>;
}

export interface Answer {
  // biome-ignore lint/suspicious/noExplicitAny: tests look into what they have just asked for.
  data: any;
  errors?: {
    message: string;
    path?: string[];
    locations?: { line: number; column: number }[];
    extensions: Record<string, unknown>;
  }[];
}

export const STATUS: EngineStatus = {
  lanes: [
    { partition: 0, state: 'RUNNING', problem: null, watermark: 41, coveredAt: 0, end: 45, lag: 3 },
    {
      partition: 1,
      state: 'WAITING',
      problem: 'database away',
      watermark: -1,
      coveredAt: 0,
      end: 2,
      lag: 2,
    },
  ],
  counters: {
    records: 42,
    batches: 2,
    live: 40,
    late: 1,
    replay: 0,
    future: 0,
    deadLetters: 1,
    transitions: 4,
    rewinds: 0,
    gaps: 0,
  },
  measures: createMeasures(),
};

/** The real server on a database of its own. */
export async function stage(options: Partial<ServerOptions> = {}): Promise<Stage> {
  const database = await testDatabase();
  const sql = connect(database.url, { max: 4, applicationName: 'test-server' });
  const sent: string[] = [];
  // postgres.js tells every statement to this hook, which connect() leaves unset.
  sql.options.debug = (_connection, statement) => sent.push(statement);
  // On a pool of its own, so that its polls are not among the statements that tests count.
  const tailSql = connect(database.url, { max: 2, applicationName: 'test-tail' });
  const tail = createAlertEventTail({ sql: tailSql, logger: silent, pollIntervalMs: 20 });
  await tail.start();
  const feed = createReadingFeed({ capacity: 100 });
  const source = { logId: 'log', topic: 'iot-stream' };
  const ingest = createIngestWatch({
    sql: tailSql,
    source,
    engineStatus: () => STATUS,
    logger: silent,
  });
  const deps: SchemaDeps = {
    sql,
    model,
    tail,
    feed,
    rules: { poke: () => {} },
    engineStatus: () => STATUS,
    ingest,
    subscriptions: { open: 0 },
    appender: { append: () => Promise.reject(new Error('this stage has no log')) },
    decode: createDecoder(model, { maxPayloadBytes: 65_536 }),
    logger: silent,
  };
  const server = await startServer({
    ...deps,
    host: '127.0.0.1',
    port: 0,
    readiness: () => ({ ok: true }),
    logger: silent,
    ...options,
  });
  const clients: Client[] = [];
  return {
    sql: database.sql,
    url: database.url,
    tail,
    feed,
    server,
    deps,
    statements: () => sent,
    query: async (query, variables = {}) => {
      const response = await fetch(`${server.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query, variables }),
      });
      return (await response.json()) as Answer;
    },
    client: () => {
      const client = createClient({
        url: `${server.url.replace('http', 'ws')}/graphql`,
        retryAttempts: 0,
        lazy: true,
      });
      clients.push(client);
      return client;
    },
    close: async () => {
      for (const client of clients) await client.dispose();
      await server.close();
      await tail.close();
      ingest.close();
      await Promise.all([sql.end({ timeout: 1 }), tailSql.end({ timeout: 1 })]);
      await database.drop();
    },
  };
}

export interface SeedReading {
  time: Micros;
  deviceId?: string;
  userId?: string;
  sequenceId?: number;
  temperature?: number | null;
  battery?: number | null;
  extra?: string | null;
}

/** Inserts readings, making the monthly partitions that they need. */
export async function seedReadings(sql: Sql, readings: readonly SeedReading[]): Promise<void> {
  const months = new Set(readings.map(({ time }) => formatMicros(time).slice(0, 7)));
  for (const month of months) {
    const [year, number] = month.split('-').map(Number) as [number, number];
    const next = new Date(Date.UTC(year, number, 1)).toISOString();
    await sql.unsafe(`CREATE TABLE IF NOT EXISTS ${model.table}_${year}_${number}
      PARTITION OF ${model.table} FOR VALUES FROM ('${month}-01T00:00:00Z') TO ('${next}')`);
  }
  const rows = readings.map((reading, index) => [
    formatMicros(reading.time),
    reading.userId ?? 'user_1',
    reading.deviceId ?? 'dev_1',
    reading.sequenceId ?? index,
    reading.temperature ?? null,
    reading.battery ?? null,
    reading.extra ?? null,
  ]);
  await sql`INSERT INTO raw_telemetry
    SELECT (r ->> 0)::timestamptz, r ->> 1, r ->> 2, (r ->> 3)::bigint, (r ->> 4)::float8,
      (r ->> 5)::int, (r ->> 6)::jsonb
    FROM jsonb_array_elements(${JSON.stringify(rows)}::text::jsonb) AS r`;
}

export async function seedDevices(
  sql: Sql,
  devices: readonly { userId?: string; deviceId: string }[],
): Promise<void> {
  for (const { userId = 'user_1', deviceId } of devices) {
    await sql`INSERT INTO device_state (user_id, device_id, partition, version, first_seen_at,
        newest_time, last_arrival_at, rules)
      VALUES (${userId}, ${deviceId}, 0, 1, now() - interval '1 day', now(), now(), '{}')`;
  }
}

export interface SeedAlert {
  id: string;
  userId?: string;
  deviceId?: string;
  severity?: string;
  status?: string;
  ruleId?: string;
  startedAt?: Micros;
}

export async function seedAlert(sql: Sql | TransactionSql, alert: SeedAlert): Promise<void> {
  const startedAt = alert.startedAt ?? 1_700_000_000_000_000;
  await sql`INSERT INTO alerts (id, user_id, device_id, rule_id, rule_version, status, severity,
      message, key, operator, threshold, value, started_at, last_seen_at, partition, "offset",
      sequence_id, event_time, arrival_time)
    VALUES (${alert.id}, ${alert.userId ?? 'user_1'}, ${alert.deviceId ?? 'dev_1'},
      ${alert.ruleId ?? 'temperature-gt'}, 1, ${alert.status ?? 'FIRING'},
      ${alert.severity ?? 'WARNING'}, 'too hot', 'temperature', '>', '80', '81.5', ${startedAt},
      ${startedAt}, 2, 77, 12, ${startedAt}, ${startedAt})`;
}

/**
 * Commits one transition as the engine does: the advisory lock last, held to COMMIT.
 *
 * @returns its seq
 */
export async function commitEvent(
  sql: Sql,
  event: { id: string; alertId: string; userId?: string; deviceId?: string; severity?: string },
): Promise<number> {
  return await sql.begin(async (tx) => {
    await tx`SELECT pg_advisory_xact_lock(${LOCKS.alertSeq})`;
    const [row] = await tx<{ seq: number }[]>`
      INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id,
        severity, message, key, operator, threshold, value, time, started_at)
      VALUES (nextval('alert_events_seq'), ${event.id}, ${event.alertId}, 'FIRED', 'FIRING',
        ${event.userId ?? 'user_1'}, ${event.deviceId ?? 'dev_1'}, 'temperature-gt',
        ${event.severity ?? 'WARNING'}, 'too hot', 'temperature', '>', '80', '81.5', now(), now())
      RETURNING seq`;
    return row?.seq ?? 0;
  });
}

type Subscribe = (args: SubscriptionArgs) => Promise<AsyncIterableIterator<unknown>>;

/** As the server subscribes: what is shared is shared among its calls. */
export function sharedSubscribe(): Subscribe {
  let subscribe: Subscribe = () => Promise.reject(new Error('not set'));
  void sharedResults().onSubscribe?.({
    setSubscribeFn: (given: Subscribe) => {
      subscribe = given;
    },
  } as never);
  return subscribe;
}

/** Polls until the condition holds. */
export async function until(condition: () => boolean, deadlineMs = 5_000): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${condition}`);
    await Bun.sleep(5);
  }
}
