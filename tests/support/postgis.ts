import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accountFor } from '../../src/embedded/postgres-account.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { eventually } from './process.ts';

export interface PostgisServer {
  /** A new database on it, without a schema. PostGIS is there for the asking. */
  database(name: string): Promise<{ url: string; sql: Sql }>;
  remove(): Promise<void>;
}

/** Where Debian puts the server's programs and its extensions, of the newest that has PostGIS. */
const VERSIONS = '/usr/lib/postgresql';
const VERSION = (existsSync(VERSIONS) ? readdirSync(VERSIONS) : [])
  .filter((version) => existsSync(`/usr/share/postgresql/${version}/extension/postgis.control`))
  .sort((a, b) => Number(b) - Number(a))[0];

/** `describe.skipIf(noPostgis)`: never under CI, where it has to be there. */
export const noPostgis = VERSION === undefined && process.env.CI !== 'true';

/** A PostgreSQL of the system's, which has PostGIS, in a folder and on a port of its own. */
export async function startPostgis(): Promise<PostgisServer> {
  if (VERSION === undefined) {
    throw new Error('no PostGIS: install the packages postgresql-15 and postgresql-15-postgis-3');
  }
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-postgis-'));
  const account = accountFor(folder);
  if (account !== null) chownSync(folder, account.uid, account.gid);
  const program = (name: string) => `${VERSIONS}/${VERSION}/bin/${name}`;
  const data = join(folder, 'data');
  const password = join(folder, 'password');
  writeFileSync(password, 'postgis\n', { mode: 0o644 });
  const options = ['-D', data, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${password}`];
  const made = spawn(program('initdb'), [...options, '--no-sync', '-E', 'UTF8'], {
    ...account,
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code] = await once(made, 'exit');
  if (code !== 0) throw new Error(`initdb ended with ${code}`);
  const port = await freePort();
  const settings = ['fsync=off', 'unix_socket_directories=', 'listen_addresses=127.0.0.1'];
  const server = spawn(
    program('postgres'),
    ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    { ...account, cwd: folder, stdio: 'ignore' },
  );
  const urlOf = (name: string) => `postgres://postgres:postgis@127.0.0.1:${port}/${name}`;
  const pools: Sql[] = [];

  async function remove(): Promise<void> {
    await Promise.all(pools.map((sql) => sql.end({ timeout: 1 })));
    await stop(server);
    rmSync(folder, { recursive: true, force: true });
  }

  const admin = connect(urlOf('postgres'), { max: 1 });
  pools.push(admin);
  try {
    await eventually('PostgreSQL with PostGIS answers', async () => {
      if (server.exitCode !== null) throw new Error(`it ended with ${server.exitCode}`);
      return await admin`SELECT 1`.then(
        () => true,
        () => false,
      );
    });
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    async database(name) {
      await admin.unsafe(`CREATE DATABASE ${name}`);
      const sql = connect(urlOf(name), { max: 4 });
      pools.push(sql);
      return { url: urlOf(name), sql };
    },
    remove,
  };
}

/** A fast shutdown. */
async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill('SIGINT');
  await exited;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
