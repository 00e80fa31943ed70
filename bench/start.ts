import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '../src/embedded/postgres.ts';
import { startTestApp } from '../tests/support/app.ts';
import { logger } from './database.ts';
import { type Around, median, type Row, type Suite } from './suite.ts';

const CASES = ['first start', 'second start'] as const;

export const startSuite: Suite = {
  name: 'start',
  title: 'Start',
  about:
    'From starting the process to the moment when /readyz says ok, everything embedded: on an ' +
    'empty data folder, and again on what a stop has left. Plain: the same PostgreSQL, alone and ' +
    'started by a process that runs already.',
  columns: [
    { key: 'pulsegraph', title: 'Pulsegraph, ms' },
    { key: 'plain', title: 'PostgreSQL alone, ms' },
    { key: 'ratio', title: 'times as long', digits: 2 },
  ],
  cases: CASES,
  measure,
};

async function* measure(cases: readonly string[], { rounds }: Around): AsyncGenerator<Row, void> {
  const ours: Record<string, number[]> = { 'first start': [], 'second start': [] };
  const plain: Record<string, number[]> = { 'first start': [], 'second start': [] };
  for (let round = 0; round < rounds; round++) {
    const [plainFirst, plainSecond] = await plainStarts();
    plain['first start']?.push(plainFirst);
    plain['second start']?.push(plainSecond);
    const [first, second] = await starts();
    ours['first start']?.push(first);
    ours['second start']?.push(second);
  }
  for (const name of cases) {
    const [pulsegraph, alone] = [median(ours[name] ?? []), median(plain[name] ?? [])];
    yield { name, pulsegraph, plain: alone, ratio: pulsegraph / alone };
  }
}

async function starts(): Promise<[number, number]> {
  const since = performance.now();
  const app = await startTestApp();
  const first = performance.now() - since;
  try {
    await app.stop();
    const again = performance.now();
    await app.restart();
    return [first, performance.now() - again];
  } finally {
    await app.stop();
    await app.remove();
  }
}

async function plainStarts(): Promise<[number, number]> {
  const dataDir = mkdtempSync(join(tmpdir(), 'pulsegraph-bench-'));
  const start = async () => {
    const since = performance.now();
    const postgres = await startPostgres({ dataDir, port: 0, logger });
    const took = performance.now() - since;
    await postgres.stop();
    return took;
  };
  try {
    return [await start(), await start()];
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}
