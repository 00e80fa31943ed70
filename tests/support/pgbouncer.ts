import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '../../src/store/connection.ts';
import { eventually } from './process.ts';

export interface PgBouncer {
  /** The database behind it, by way of the pooler. */
  readonly url: string;
  /** Ends it at once, as a crash does by default; every client connection breaks. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** On the same port; resolves when it answers. */
  start(): Promise<void>;
  /** Stops it and removes its folder. */
  remove(): Promise<void>;
}

/** Debian puts it where only root's PATH looks. */
const PROGRAM = Bun.which('pgbouncer', { PATH: `${process.env.PATH ?? ''}:/usr/sbin` });

/** `describe.skipIf(noPgBouncer)`: never under CI, where it has to be there. */
export const noPgBouncer = PROGRAM === null && process.env.CI !== 'true';

/**
 * A PgBouncer in transaction mode on a free port, in front of one database and under its password.
 *
 * @param options.poolSize connections to the server; clients beyond them wait for a transaction's end
 */
export async function startPgBouncer(
  databaseUrl: string,
  { poolSize = 5 }: { poolSize?: number } = {},
): Promise<PgBouncer> {
  if (PROGRAM === null) throw new Error('no PgBouncer: install the package pgbouncer');
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-pgbouncer-'));
  const port = await freePort();
  const target = new URL(databaseUrl);
  const password = decodeURIComponent(target.password);
  // It becomes `nobody`, who has to read the folder; the server's password lives as long as a test.
  const account = process.geteuid?.() === 0 ? ['-u', 'nobody'] : [];
  writeFileSync(join(folder, 'users.txt'), `"${target.username}" "${password}"\n`, { mode: 0o644 });
  writeFileSync(
    join(folder, 'pgbouncer.ini'),
    `[databases]
* = host=${target.hostname} port=${target.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${join(folder, 'users.txt')}
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = 500
server_login_retry = 1
`,
  );
  Bun.spawnSync(['chmod', '755', folder]);
  const url = new URL(databaseUrl);
  url.hostname = '127.0.0.1';
  url.port = String(port);
  let child: ChildProcess | null = null;
  let said = '';

  async function start(): Promise<void> {
    said = '';
    const started = spawn(PROGRAM as string, [...account, join(folder, 'pgbouncer.ini')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child = started;
    started.stderr?.on('data', (data) => {
      said = (said + data).slice(-10_000);
    });
    await eventually('PgBouncer answers', async () => {
      if (started.exitCode !== null) throw new Error(`PgBouncer ended:\n${said}`);
      const sql = connect(url.href, { max: 1 });
      try {
        return (await sql`SELECT ${1}::int AS one`).length === 1;
      } catch {
        return false;
      } finally {
        await sql.end({ timeout: 1 });
      }
    });
  }

  async function stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const stopping = child;
    child = null;
    if (stopping === null || stopping.exitCode !== null) return;
    const exited = once(stopping, 'exit');
    stopping.kill(signal);
    await exited;
  }

  async function remove(): Promise<void> {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  }

  try {
    await start();
  } catch (error) {
    await remove();
    throw error;
  }
  return { url: url.href, stop, start, remove };
}

async function freePort(): Promise<number> {
  const probe: Server = createServer();
  probe.listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
