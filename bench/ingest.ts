import { createEngine } from '../src/engine/index.ts';
import { createRuleBook } from '../src/engine/rule-book.ts';
import { model } from '../src/model.ts';
import { connect, type Sql } from '../src/store/connection.ts';
import { CEILING, copyAll } from './copy.ts';
import { type CpuSeconds, cpuEach, cpuSeconds } from './cpu.ts';
import { type BenchServer, logger, startServer } from './database.ts';
import { type FilledLog, fillLog, type LogKind, noKafkaNote, PARTITIONS } from './ingest-logs.ts';
import { type Around, median, type Row, type Suite } from './suite.ts';
import { FLEET, makeRecords, makeRules, userName, type Workload } from './workload.ts';

interface Case {
  log: LogKind;
  fleet: Omit<Workload, 'records'>;
  rules: number;
}

const FLEETS = [
  FLEET,
  { ...FLEET, name: '100,000 devices', devices: 100_000 },
  { ...FLEET, name: '90 devices, 1 % sent twice', redeliveredShare: 0.01 },
];

const CASES = new Map<string, Case>();
for (const log of ['embedded', 'Kafka'] as const) {
  for (const fleet of FLEETS) {
    for (const rules of fleet.redeliveredShare > 0 ? [5] : [0, 5, 50]) {
      CASES.set(`${log}, ${fleet.name}, ${rules} rules`, { log, fleet, rules });
    }
  }
}

export const ingestSuite: Suite = {
  name: 'ingest',
  title: 'Log to Postgres',
  about:
    'A log that is full of readings of 30 users, stored and judged by so many rules each; one ' +
    'reading in a thousand fires or resolves an alert. The plain loop parses the same log and ' +
    'COPYs it, 5,000 records or so at a time: no checks, no rules, nothing held against a crash. ' +
    'Each is timed from when it has its partitions. A kafkajs eachBatch loop reads the Kafka log.',
  columns: [
    { key: 'ceiling', title: 'COPY ceiling, rows/s' },
    { key: 'plain', title: 'plain loop' },
    { key: 'pulsegraph', title: 'Pulsegraph' },
    { key: 'ratio', title: 'of the ceiling', digits: 2 },
    { key: 'plainRatio', title: 'plain of the ceiling', digits: 2 },
    { key: 'cpuSelf', title: 'CPU of the process, µs/row', digits: 1 },
    { key: 'cpuPostgres', title: 'of Postgres', digits: 1 },
    { key: 'cpuBroker', title: 'of Kafka', digits: 1 },
  ],
  cases: [...CASES.keys()],
  measure,
};

async function* measure(
  cases: readonly string[],
  { records, rounds }: Around,
): AsyncGenerator<Row, void> {
  const server = await startServer();
  let filled = null as (Filled & { of: string }) | null;
  try {
    for (const name of cases) {
      const { log: kind, fleet, rules } = CASES.get(name) as Case;
      const note = kind === 'Kafka' ? noKafkaNote() : null;
      if (note !== null) {
        yield { name, note };
        continue;
      }
      const key = `${kind} ${fleet.name}`;
      if (filled?.of !== key) {
        await filled?.log.close();
        filled = null;
        filled = { of: key, ...(await fill(kind, { ...fleet, records }, server)) };
      }
      yield { name, ...(await measureCase(filled, { server, rules, users: fleet.users, rounds })) };
    }
  } finally {
    await filled?.log.close();
    await server.remove();
  }
}

interface Filled {
  log: FilledLog;
  made: Made;
}

/** What is left of a workload once the log has it: no objects for a garbage collector to walk. */
interface Made {
  lines: string[];
  records: number;
  transitions: number;
}

async function fill(kind: LogKind, workload: Workload, server: BenchServer): Promise<Filled> {
  const records = makeRecords(workload);
  const log = await fillLog(kind, server.folder, records);
  const lines = records.filter(({ copyLine }) => copyLine !== '').map(({ copyLine }) => copyLine);
  const transitions = records.filter((record) => record.isTransition).length;
  return { log, made: { lines, records: records.length, transitions } };
}

async function measureCase(
  { log, made }: Filled,
  options: { server: BenchServer; rules: number; users: number; rounds: number },
): Promise<Record<string, number>> {
  const { server, rules, users } = options;
  const doubles = made.lines.length < made.records;
  const figures = { ceiling: [], plain: [], pulsegraph: [] } as Record<string, number[]>;
  const cpus: CpuSeconds[] = [];
  for (let round = 0; round < options.rounds; round++) {
    const ceiling = await copyAll(await server.freshDatabase(), made.lines, CEILING);
    figures.ceiling?.push(ceiling);
    const plainUrl = await server.freshDatabase();
    figures.plain?.push(await log.plain(plainUrl, { records: made.records, doubles }));
    const url = await server.freshDatabase();
    const { rate, cpu } = await pulsegraph({ url, log, made, rules, users });
    figures.pulsegraph?.push(rate);
    cpus.push(cpu);
  }
  const { ceiling = [], plain = [], pulsegraph: ours = [] } = figures;
  const share = (rates: number[]) => median(rates.map((rate, i) => rate / (ceiling[i] ?? 1)));
  return {
    ceiling: median(ceiling),
    plain: median(plain),
    pulsegraph: median(ours),
    ratio: share(ours),
    plainRatio: share(plain),
    cpuSelf: median(cpus.map(({ self }) => self)),
    cpuPostgres: median(cpus.map(({ postgres }) => postgres)),
    cpuBroker: median(cpus.map(({ java }) => java)),
  };
}

async function pulsegraph(options: {
  url: string;
  log: FilledLog;
  made: Made;
  rules: number;
  users: number;
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
      rules,
      tail: { poke: () => {} },
      model,
      logger,
    },
    {
      policy: { maxRows: 1_000, maxWaitMs: 100 },
      maxPayloadBytes: 65_536,
      maxClockSkew: 300_000_000,
      maxCachedDevices: 50_000,
      feedCapacity: 1_000,
    },
  );
  await engine.start();
  while (engine.status().lanes.length < PARTITIONS) await Bun.sleep(1);
  const cpuBefore = cpuSeconds();
  const started = performance.now();
  const stored = () => {
    const { lanes, counters } = engine.status();
    return counters.records >= made.records && lanes.every((lane) => lane.lag === 0);
  };
  while (!stored()) await Bun.sleep(5);
  const seconds = (performance.now() - started) / 1_000;
  const cpu = cpuEach(cpuBefore, cpuSeconds(), made.records);
  const { counters } = engine.status();
  await engine.stop(5_000);
  await rules.close();
  await check(sql, made.lines.length);
  await sql.end();
  const expected = options.rules === 0 ? 0 : made.transitions;
  if (counters.transitions !== expected)
    throw new Error(`${counters.transitions} transitions instead of ${expected}`);
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
