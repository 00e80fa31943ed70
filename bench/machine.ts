import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { startPostgres } from '../src/embedded/postgres.ts';
import { connect } from '../src/store/connection.ts';
import { canRunKafka } from '../tests/support/kafka-node.ts';
import { percentile } from './suite.ts';

export interface Machine {
  cores: number;
  cpu: string;
  memoryGiB: number;
  system: string;
  bun: string;
  postgres: string;
  /** Null where there is none to measure with. */
  kafka: string | null;
  /** Of 4 KiB appended to a file where the data folders are: milliseconds. */
  fsync: { p50: number; p99: number };
  /** Of the last minute when the run began: what other work there was. */
  load: number;
}

const FSYNCS = 300;
/** What tests/support/kafka/pom.xml asks for. */
const KAFKA = '4.1.1';

export async function describeMachine(): Promise<Machine> {
  const [first] = cpus();
  return {
    cores: cpus().length,
    cpu: first?.model.trim() ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()} ${process.arch}`,
    bun: Bun.version,
    postgres: await postgresVersion(),
    kafka: process.env.KAFKA_BROKERS ? 'of KAFKA_BROKERS' : canRunKafka() ? KAFKA : null,
    fsync: measureFsync(),
    load: Math.round((loadavg()[0] ?? 0) * 10) / 10,
  };
}

/** In the folder for temporary files, where the benchmarks' data folders are made. */
export function measureFsync(): { p50: number; p99: number } {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-bench-'));
  const file = openSync(join(folder, 'fsync'), 'a');
  const block = Buffer.alloc(4_096, 1);
  const times: number[] = [];
  try {
    for (let n = 0; n < FSYNCS; n++) {
      const since = performance.now();
      writeSync(file, block);
      fsyncSync(file);
      times.push(performance.now() - since);
    }
  } finally {
    closeSync(file);
    rmSync(folder, { recursive: true });
  }
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
}

async function postgresVersion(): Promise<string> {
  const dataDir = mkdtempSync(join(tmpdir(), 'pulsegraph-bench-'));
  const postgres = await startPostgres({ dataDir, port: 0, logger: pino({ level: 'error' }) });
  try {
    const sql = connect(postgres.url, { max: 1 });
    const [row] = await sql.unsafe<{ version: string }[]>(
      `SELECT current_setting('server_version') AS version`,
    );
    await sql.end();
    return row?.version ?? 'unknown';
  } finally {
    await postgres.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}
