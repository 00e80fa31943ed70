import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DATABASE, SUPERUSER } from './postgres-folder.ts';

/** Where the port is in postmaster.pid, as PostgreSQL documents it (LOCK_FILE_LINE_PORT). */
const PORT_LINE = 3;

/** The URL of the embedded PostgreSQL that runs on a data folder; null where none does. */
export function runningPostgresUrl(dataDir: string): string | null {
  try {
    const password = readFileSync(join(dataDir, 'postgres-password'), 'utf8').trim();
    const pidFile = readFileSync(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8');
    const port = pidFile.split('\n')[PORT_LINE];
    return `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${DATABASE}`;
  } catch {
    return null;
  }
}
