import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { startPostgres } from '../src/embedded/postgres.ts';
import { model } from '../src/model.ts';
import { connect } from '../src/store/connection.ts';
import { migrate } from '../src/store/migrate.ts';
import { createPartitionMaker } from '../src/store/partitions.ts';
import { START_MS } from './workload.ts';

/** The embedded PostgreSQL with the settings that it has in service, in a folder of its own. */
export interface BenchServer {
  /** For whatever else has to lie on the same disk; goes with the server. */
  folder: string;
  /** Makes the database anew, with the schema and the partition of the workload. */
  freshDatabase(): Promise<string>;
  remove(): Promise<void>;
}

export const logger = pino({ level: 'error' });

export async function startServer(): Promise<BenchServer> {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-bench-'));
  const postgres = await startPostgres({ dataDir: folder, port: 0, logger });
  return {
    folder,
    async freshDatabase() {
      const admin = connect(postgres.url, { max: 1 });
      await admin.unsafe('DROP DATABASE IF EXISTS bench WITH (FORCE)');
      await admin.unsafe('CREATE DATABASE bench');
      const url = new URL(postgres.url);
      url.pathname = '/bench';
      const sql = connect(url.href, { max: 1 });
      await migrate(sql, model);
      await createPartitionMaker(sql, model).ensure([START_MS * 1_000]);
      await sql.end();
      // What an earlier contender has left to be written is not the next one's to pay.
      await admin.unsafe('CHECKPOINT');
      await admin.end();
      return url.href;
    },
    async remove() {
      await postgres.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
