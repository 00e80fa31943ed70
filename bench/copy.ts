import { model } from '../src/model.ts';
import { connect, type Sql } from '../src/store/connection.ts';
import { cpuEach, cpuSeconds } from './cpu.ts';
import { startServer } from './database.ts';
import { type Around, median, type Suite } from './suite.ts';
import { FLEET, makeRecords } from './workload.ts';

export interface CopyOptions {
  connections: number;
  rowsPerTransaction: number;
}

/** What all throughput is measured against: as DESIGN states it. */
export const CEILING: CopyOptions = { connections: 4, rowsPerTransaction: 1_000 };

const CASES: Record<string, CopyOptions> = {
  '4 connections, 1,000 rows each (the ceiling)': CEILING,
  '4 connections, 10,000 rows each': { connections: 4, rowsPerTransaction: 10_000 },
  '1 connection, 1,000 rows each': { connections: 1, rowsPerTransaction: 1_000 },
};

export const copySuite: Suite = {
  name: 'copy',
  title: 'COPY alone',
  about:
    'Rows that are formatted already, COPYed into the same table with the same indexes, with ' +
    'nothing else running. The first row is the ceiling that throughput is measured against.',
  columns: [
    { key: 'rate', title: 'rows/s' },
    { key: 'ratio', title: 'of the ceiling', digits: 2 },
    { key: 'cpuPostgres', title: 'CPU of Postgres, µs/row', digits: 1 },
    { key: 'cpuClient', title: 'of the client', digits: 1 },
  ],
  cases: Object.keys(CASES),
  measure,
};

async function* measure(cases: readonly string[], { records, rounds }: Around) {
  const server = await startServer();
  const lines = makeRecords({ ...FLEET, records }).map(({ copyLine }) => copyLine);
  try {
    for (const name of cases) {
      const options = CASES[name] as CopyOptions;
      const rates: number[] = [];
      const ratios: number[] = [];
      const before = cpuSeconds();
      let cpu = cpuEach(before, before, 1);
      for (let round = 0; round < rounds; round++) {
        const ceiling = await copyAll(await server.freshDatabase(), lines, CEILING);
        const url = await server.freshDatabase();
        const started = cpuSeconds();
        const rate = await copyAll(url, lines, options);
        cpu = cpuEach(started, cpuSeconds(), records);
        rates.push(rate);
        ratios.push(rate / ceiling);
      }
      const ratio = options === CEILING ? 1 : median(ratios);
      const rate = median(rates);
      yield { name, rate, ratio, cpuPostgres: cpu.postgres, cpuClient: cpu.self };
    }
  } finally {
    await server.remove();
  }
}

/** @returns rows per second */
export async function copyAll(
  url: string,
  lines: readonly string[],
  { connections, rowsPerTransaction }: CopyOptions,
): Promise<number> {
  const chunks: Buffer[] = [];
  for (let i = 0; i < lines.length; i += rowsPerTransaction) {
    chunks.push(Buffer.from(lines.slice(i, i + rowsPerTransaction).join('')));
  }
  const sql = connect(url, { max: connections });
  await Promise.all(Array.from({ length: connections }, () => sql`SELECT pg_sleep(0.05)`));
  let next = 0;
  const work = async () => {
    while (next < chunks.length) await copyText(sql, chunks[next++] as Buffer);
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: connections }, work));
  const seconds = (performance.now() - started) / 1_000;
  await sql.end();
  return lines.length / seconds;
}

/** One transaction. */
export async function copyText(sql: Sql, text: string | Buffer): Promise<void> {
  await sql.begin(async (tx) => {
    const stream = await tx.unsafe(`COPY ${model.table} FROM STDIN`).writable();
    await new Promise<void>((resolve, reject) => {
      stream.once('error', reject).once('finish', resolve);
      stream.end(text);
    });
  });
}
