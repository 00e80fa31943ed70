import { createEngine } from '../src/engine/index.ts';
import { createRuleBook } from '../src/engine/rule-book.ts';
import { model } from '../src/model.ts';
import { connect, type Sql } from '../src/store/connection.ts';
import { type CpuSeconds, cpuEach, cpuSeconds } from './cpu.ts';
import { type BenchServer, logger } from './database.ts';
import { type FilledLog, fillLog, type LogKind, PARTITIONS } from './ingest-logs.ts';
import { makeRecords, makeRules, userName, type Workload } from './workload.ts';

/** Often enough for a run of seconds, and nothing beside it. */
const POLL_MS = 10;

export interface Filled {
  log: FilledLog;
  made: Made;
}

/** What is left of a workload once the log has it: no objects for a garbage collector to walk. */
export interface Made {
  lines: string[];
  records: number;
  transitions: number;
}

export async function fill(
  kind: LogKind,
  workload: Workload,
  server: BenchServer,
): Promise<Filled> {
  const records = makeRecords(workload);
  const log = await fillLog(kind, server.folder, records);
  const lines = records.filter(({ copyLine }) => copyLine !== '').map(({ copyLine }) => copyLine);
  const transitions = records.filter((record) => record.isTransition).length;
  return { log, made: { lines, records: records.length, transitions } };
}

/** Stores and judges all of it. @throws Error when a row or a transition is missing or too many */
export async function runEngine(options: {
  url: string;
  log: FilledLog;
  made: Made;
  rules: number;
  users: number;
  /** Called when the first record can be read, and when the last one is stored. */
  onBegin?: () => void | Promise<void>;
  onEnd?: () => void | Promise<void>;
}): Promise<{ rate: number; cpu: CpuSeconds }> {
  const { url, log, made, users } = options;
  const sql = connect(url, { max: 10 });
  await setRules(sql, users, options.rules);
  const rules = createRuleBook({ sql, model, logger });
  await rules.start();
  await rules.refresh();
  const engine = createEngine(
    {
      source: log.source(),
      sql,
      openSql: () => connect(url, { max: 2 }),
      openGroupSql: () => connect(url, { max: 1 }),
      rules,
      tail: { committed: () => {} },
      model,
      logger,
    },
    {
      policy: { maxRows: 1_000, maxWaitMs: 100 },
      maxPayloadBytes: 65_536,
      maxClockSkew: 300_000_000,
      maxCachedDevices: 120_000,
      feedCapacity: 1_000,
    },
  );
  await options.onBegin?.();
  await engine.start();
  while (engine.status().lanes.length < PARTITIONS) await Bun.sleep(1);
  const cpuBefore = cpuSeconds();
  const started = performance.now();
  const stored = () => {
    const { lanes, counters } = engine.status();
    return counters.records >= made.records && lanes.every((lane) => lane.lag === 0);
  };
  while (!stored()) await Bun.sleep(POLL_MS);
  const seconds = (performance.now() - started) / 1_000;
  const cpu = cpuEach(cpuBefore, cpuSeconds(), made.records);
  await options.onEnd?.();
  const { counters } = engine.status();
  await engine.stop(5_000);
  await rules.close();
  await check(sql, made.lines.length);
  await sql.end();
  const expected = options.rules === 0 ? 0 : made.transitions;
  if (counters.transitions !== expected) {
    throw new Error(`${counters.transitions} transitions instead of ${expected}`);
  }
  return { rate: made.records / seconds, cpu };
}

/** A fast answer that lost a row would be no answer. */
async function check(sql: Sql, expected: number): Promise<void> {
  const [row] = await sql.unsafe<{ n: number }[]>(`SELECT count(*) AS n FROM ${model.table}`);
  if (row?.n !== expected) throw new Error(`${row?.n} rows are stored instead of ${expected}`);
}

async function setRules(sql: Sql, users: number, count: number): Promise<void> {
  const names = Array.from({ length: users }, (_, i) => userName(i));
  await sql`
    INSERT INTO user_configs (user_id, rules)
    SELECT name, ${JSON.stringify(makeRules(count))}::text::jsonb
    FROM json_array_elements_text(${JSON.stringify(names)}::text::json) AS name`;
}
