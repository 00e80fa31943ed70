/**
 * A process to be killed: holds the data folder argv[2] and, given a port argv[3], a PostgreSQL on
 * it. Says `ready <pid of PostgreSQL> <url>` or `failed <code> <message>` on stdout.
 */
import pino from 'pino';
import { StartError } from '../../src/domain/start-error.ts';
import { openDataFolder } from '../../src/embedded/data-folder.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';

try {
  const folder = openDataFolder(process.argv[2] as string);
  const port = process.argv[3];
  const logger = pino({ level: 'silent' });
  const postgres = port && (await startPostgres({ dataDir: folder.path, port: +port, logger }));
  console.log(postgres ? `ready ${postgres.pid()} ${postgres.url}` : 'ready');
  setInterval(() => {}, 60_000);
} catch (error) {
  if (!(error instanceof StartError)) throw error;
  console.log(`failed ${error.code} ${error.message}`);
  process.exitCode = 1;
}
