import pino from 'pino';
import type { DeadLetterSink } from '../../src/engine/commit.ts';
import { createEngine, type Engine } from '../../src/engine/index.ts';
import { createRuleBook, type RuleBook } from '../../src/engine/rule-book.ts';
import { model } from '../../src/model.ts';
import { createAlertEventTail } from '../../src/store/alert-event-tail.ts';
import { connect } from '../../src/store/connection.ts';
import type { TestKafka } from '../support/kafka.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import { OPTIONS } from './engine-stage.ts';
import { type KafkaLog, kafkaLog } from './sources/kafka-log.ts';

/** One database and one topic, and engines of one group on them. */
export interface KafkaStage {
  db: TestDatabase;
  log: KafkaLog;
  start(deadLetters?: DeadLetterSink): Promise<Replica>;
  count(table: string): Promise<number>;
  /** `FIRED hot d1 @ <sequence_id>` of one device, in order of seq. */
  events(device: string): Promise<string[]>;
  close(): Promise<void>;
}

export interface Replica {
  engine: Engine;
  rules: RuleBook;
  lines: string[];
  stop(): Promise<void>;
}

/** @param options.kafka other than the shared one */
export async function kafkaStage(options: {
  partitions: number;
  kafka?: TestKafka;
}): Promise<KafkaStage> {
  const db = await testDatabase();
  const log = await kafkaLog(options);
  const running = new Set<Replica>();
  const { sql } = db;

  async function start(deadLetters?: DeadLetterSink): Promise<Replica> {
    const lines: string[] = [];
    const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    const pool = connect(db.url, { max: 4, applicationName: 'engine' });
    const rules = createRuleBook({ sql: pool, model, logger, pollIntervalMs: 20 });
    const tail = createAlertEventTail({ sql: pool, logger, pollIntervalMs: 20 });
    await rules.start();
    await tail.start();
    const openSql = () => connect(db.url, { max: 2, applicationName: 'lane' });
    const openGroupSql = () => connect(db.url, { max: 1, applicationName: 'lane' });
    const source = log.source({ metadataMaxAgeMs: 300, logger });
    const engine = createEngine(
      { source, sql: pool, openSql, openGroupSql, rules, tail, deadLetters, model, logger },
      { ...OPTIONS },
    );
    await engine.start();
    const replica: Replica = {
      engine,
      rules,
      lines,
      async stop() {
        if (!running.delete(replica)) return;
        await engine.stop(5_000);
        await rules.close();
        await tail.close();
        await pool.end({ timeout: 0 });
      },
    };
    running.add(replica);
    return replica;
  }

  return {
    db,
    log,
    start,
    async count(table) {
      const [row] = await sql.unsafe<{ n: number }[]>(`SELECT count(*) AS n FROM ${table}`);
      return row?.n as number;
    },
    async events(device) {
      const rows = await sql<{ type: string; rule_id: string; sequence_id: number }[]>`
        SELECT e.type, e.rule_id, r.sequence_id FROM alert_events e
        JOIN raw_telemetry r ON (r.time, r.device_id) = (e.time, e.device_id)
        WHERE e.device_id = ${device} ORDER BY e.seq`;
      return rows.map((row) => `${row.type} ${row.rule_id} @ ${row.sequence_id}`);
    },
    async close() {
      await Promise.all([...running].map((replica) => replica.stop()));
      await log.close();
      await db.drop();
    },
  };
}

/** Until the table has so many rows; fails at once with the log where a lane has failed. */
export async function storedIn(stage: KafkaStage, rows: number, replicas: Replica[]) {
  await eventually(
    `${rows} rows`,
    async () => {
      for (const { engine, lines } of replicas) {
        const failed = engine.status().lanes.some(({ state }) => state === 'FAILED');
        if (failed) throw new Error(lines.slice(-20).join(''));
      }
      return (await stage.count('raw_telemetry')) >= rows;
    },
    30_000,
  ).catch(async (error: Error) => {
    const states = replicas.map(({ engine }) => JSON.stringify(engine.status().lanes));
    const has = await stage.count('raw_telemetry');
    const lines = replicas.flatMap((replica) => replica.lines.slice(-20));
    throw new Error([error.message, `has ${has}`, ...states, ...lines].join('\n'));
  });
}
