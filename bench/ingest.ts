import { CEILING, copyAll } from './copy.ts';
import type { CpuSeconds } from './cpu.ts';
import { type BenchServer, startServer } from './database.ts';
import { type Filled, fill, runEngine } from './engine-run.ts';
import { type LogKind, noKafkaNote } from './ingest-logs.ts';
import { type Around, median, type Row, type Suite } from './suite.ts';
import { FLEET, type Workload } from './workload.ts';

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
      CASES.set(`${log}, ${fleet.name}, ${rules || 'no'} rules`, { log, fleet, rules });
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
    const { rate, cpu } = await runEngine({ url, log, made, rules, users });
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
