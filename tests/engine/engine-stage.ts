import pino, { type Logger } from 'pino';
import type { PartitionReader, Source } from '../../src/domain/log.ts';
import type { Model } from '../../src/domain/model.ts';
import { createEngine, type Engine, type EngineOptions } from '../../src/engine/index.ts';
import { createRuleBook, type RuleBook } from '../../src/engine/rule-book.ts';
import type { EmbeddedLog, EmbeddedLogOptions } from '../../src/engine/sources/embedded-log.ts';
import { createEmbeddedSource } from '../../src/engine/sources/embedded-source.ts';
import { model as devices } from '../../src/model.ts';
import { type AlertEventTail, createAlertEventTail } from '../../src/store/alert-event-tail.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import { type TemporaryLogs, temporaryLogs } from './sources/temporary-log.ts';

export const GROUP = 'pulsegraph';
export const OPTIONS: EngineOptions = {
  policy: { maxRows: 100, maxWaitMs: 20 },
  maxPayloadBytes: 65_536,
  maxClockSkew: 300_000_000,
  maxCachedDevices: 1_000,
  feedCapacity: 100,
};

/** A reading as a device sends it. `at` is seconds after the stage's beginning. */
export interface Sent {
  user?: string;
  device?: string;
  at: number;
  seq: number;
  temperature?: number | null;
  /** More fields, as JSON text: `"x":1`. */
  more?: string;
}

export interface RunningEngine {
  engine: Engine;
  rules: RuleBook;
  tail: AlertEventTail;
  /** What the engine logged, as `level: message`. */
  lines: string[];
  /** Records that its lanes have taken from the log, stored or not. */
  read(): number;
  /** Stops the engine and all that came with it; once. */
  stop(deadlineMs?: number): Promise<void>;
}

export interface StartOptions {
  log?: EmbeddedLog;
  options?: Partial<EngineOptions>;
  /** Of the lanes' own connections, by way of a proxy. */
  laneUrl?: string;
  /** Puts something between the log and the lanes. */
  wrap?: (reader: PartitionReader) => PartitionReader;
  /** How often it looks for changed rules by itself; default 20. */
  rulesPollMs?: number;
}

/** Begins ten minutes ago, so that nothing sent is FUTURE or outside of what is accepted. */
export const BEGINNING_MS = Math.floor(Date.now() / 1_000) * 1_000 - 600_000;

export const microsAt = (seconds: number) => BEGINNING_MS * 1_000 + Math.round(seconds * 1e6);

export function message({ user = 'ann', device = 'd1', at, seq, temperature, more }: Sent) {
  const time = new Date(BEGINNING_MS + at * 1_000).toISOString();
  const fields = [`"time":"${time}"`, `"sequence_id":${seq}`];
  if (temperature !== undefined) fields.push(`"temperature":${temperature}`);
  if (more !== undefined) fields.push(more);
  return {
    topic: `users/${user}/devices/${device}/telemetry`,
    key: `${user}/${device}`,
    value: new TextEncoder().encode(`{${fields.join(',')}}`),
  };
}

/** One database and one log, and engines on them; nothing of it is a stand-in. */
export interface EngineStage {
  db: TestDatabase;
  logs: TemporaryLogs;
  log: EmbeddedLog;
  sql: Sql;
  start(how?: StartOptions): Promise<RunningEngine>;
  send(...sent: Sent[]): Promise<void>;
  /** Until all of the log is stored and the group's position is at its end. */
  stored(log?: EmbeddedLog): Promise<void>;
  count(table: string): Promise<number>;
  /** `FIRED hot d1 @ 3`, in order of seq. */
  events(): Promise<string[]>;
  close(): Promise<void>;
}

export async function engineStage(
  options: {
    partitions?: number;
    database?: TestDatabase;
    log?: Partial<EmbeddedLogOptions>;
    model?: Model;
  } = {},
): Promise<EngineStage> {
  const { model = devices } = options;
  const db = options.database ?? (await testDatabase());
  const logs = await temporaryLogs();
  const log = await logs.open({ partitions: options.partitions ?? 1, ...options.log });
  const running = new Set<RunningEngine>();
  const { sql } = db;

  async function start(how: StartOptions = {}): Promise<RunningEngine> {
    const lines: string[] = [];
    const logger = lineLogger(lines);
    const pool = connect(db.url, { max: 4, applicationName: 'engine' });
    const rules = createRuleBook({
      sql: pool,
      model,
      logger,
      pollIntervalMs: how.rulesPollMs ?? 20,
    });
    const tail = createAlertEventTail({ sql: pool, logger, pollIntervalMs: 20 });
    await rules.start();
    await tail.start();
    let read = 0;
    const embedded = createEmbeddedSource({ log: how.log ?? log, groupId: GROUP });
    const source = wrapped(embedded, (reader) =>
      counted(how.wrap ? how.wrap(reader) : reader, (records) => {
        read += records;
      }),
    );
    const openLane = (max: number) =>
      connect(how.laneUrl ?? db.url, { max, applicationName: 'lane', answerWithinMs: 5_000 });
    const openSql = () => openLane(2);
    const openGroupSql = () => openLane(1);
    const engine = createEngine(
      { source, sql: pool, openSql, openGroupSql, rules, tail, model, logger },
      { ...OPTIONS, ...how.options },
    );
    await engine.start();
    const it: RunningEngine = {
      engine,
      rules,
      tail,
      lines,
      read: () => read,
      async stop(deadlineMs = 5_000) {
        if (!running.delete(it)) return;
        await engine.stop(deadlineMs);
        await rules.close();
        await tail.close();
        await pool.end({ timeout: 0 });
      },
    };
    running.add(it);
    return it;
  }

  async function stored(of: EmbeddedLog = log): Promise<void> {
    const behind = () =>
      of.stats().partitions.filter(({ end, committed }) => (committed ?? 0) !== end);
    const failed = () =>
      [...running].flatMap(({ engine, lines }) =>
        engine.status().lanes.some(({ state }) => state === 'FAILED') ? lines : [],
      );
    await eventually(
      'the whole log is stored',
      () => {
        if (failed().length > 0) throw new Error(`a lane failed:\n${failed().join('\n')}`);
        return behind().length === 0;
      },
      20_000,
    ).catch((error: Error) => {
      const lanes = [...running].flatMap(({ engine }) => engine.status().lanes);
      const lines = [...running].flatMap((one) => one.lines);
      throw new Error([error.message, JSON.stringify(lanes), ...lines].join('\n'));
    });
  }

  return {
    db,
    logs,
    log,
    sql,
    start,
    async send(...sent) {
      await Promise.all(sent.map((one) => log.append(message(one))));
    },
    stored,
    async count(table) {
      const [row] = await sql.unsafe<{ n: number }[]>(`SELECT count(*) AS n FROM ${table}`);
      return row?.n as number;
    },
    async events() {
      const rows = await sql<{ type: string; rule_id: string; device_id: string; time: number }[]>`
        SELECT type, rule_id, device_id, time FROM alert_events ORDER BY seq`;
      return rows.map(
        (r) => `${r.type} ${r.rule_id} ${r.device_id} @ ${(r.time - microsAt(0)) / 1e6}`,
      );
    },
    async close() {
      for (const one of [...running]) await one.stop(1_000);
      await logs.remove();
      if (options.database === undefined) await db.drop();
    },
  };
}

/** Writes rules as a user does with SQL, and waits until the engines know them. */
export async function writeRules(
  sql: Sql,
  user: string,
  rules: object[],
  ...engines: RunningEngine[]
): Promise<number> {
  await sql`
    INSERT INTO user_configs (user_id, rules) VALUES (${user}, ${sql.json(rules as never)})
    ON CONFLICT (user_id) DO UPDATE SET rules = EXCLUDED.rules`;
  for (const { rules: book } of engines) await book.refresh();
  const [row] = await sql`SELECT accepted_version FROM user_configs WHERE user_id = ${user}`;
  return row?.accepted_version as number;
}

export const HOT = { id: 'hot', key: 'temperature', operator: '>', threshold: 80, message: 'hot' };

function lineLogger(lines: string[]): Logger {
  const names: Record<number, string> = { 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' };
  return pino(
    { level: 'info' },
    {
      write(text: string) {
        const { level, msg, err } = JSON.parse(text);
        lines.push(`${names[level]}: ${msg}${err ? ` (${err.message})` : ''}`);
      },
    },
  );
}

/** The reader, telling how many records were read of it. */
function counted(reader: PartitionReader, onRead: (records: number) => void): PartitionReader {
  return {
    ...reader,
    async read(maxRecords, waitMs) {
      const records = await reader.read(maxRecords, waitMs);
      onRead(records.length);
      return records;
    },
  };
}

function wrapped(source: Source, wrap: (reader: PartitionReader) => PartitionReader): Source {
  return {
    ...source,
    start: (onAssigned) => source.start((reader) => onAssigned(wrap(reader))),
  };
}
