import { afterEach, beforeEach, expect, test } from 'bun:test';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { StartError } from '../../src/domain/start-error.ts';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { connect } from '../../src/store/connection.ts';
import { eventually, isAlive } from '../support/process.ts';

const LIMIT_MS = 60_000;
let dataDir: string;
let started: EmbeddedPostgres[];
/** Every server process of the test: none may be left after it. */
let pids: number[];

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'pulsegraph-embedded-'));
  started = [];
  pids = [];
});

afterEach(async () => {
  for (const postgres of started) await postgres.stop();
  const left = pids.filter(isAlive);
  for (const pid of left) process.kill(pid, 'SIGKILL');
  rmSync(dataDir, { recursive: true, force: true });
  expect(left).toEqual([]);
}, LIMIT_MS);

test(
  'the first start makes the database, the second finds its data',
  async () => {
    const first = await start();
    expect(await count(first.url, 'INSERT')).toBe(1);
    await first.stop();
    expect(isAlive(first.pid())).toBe(false);

    const second = await start();
    expect(await count(second.url)).toBe(1);
    expect(new URL(second.url).password).toBe(new URL(first.url).password);
    expect(statSync(join(dataDir, 'postgres-password')).mode & 0o777).toBe(0o600);
    expect(readdirSync(dataDir).filter((name) => name.includes('.new'))).toEqual([]);
  },
  LIMIT_MS,
);

test(
  'it is durable, in UTF-8 and UTC, and lets nobody in without the password',
  async () => {
    const { url } = await start();
    const sql = connect(url, { max: 1 });
    const rows = await sql<{ name: string; setting: string }[]>`
      SELECT name, setting FROM pg_settings
      WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'server_encoding',
                     'TimeZone', 'listen_addresses', 'unix_socket_directories')`;
    expect(Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))).toEqual({
      fsync: 'on',
      synchronous_commit: 'on',
      full_page_writes: 'on',
      server_encoding: 'UTF8',
      TimeZone: 'UTC',
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
    });
    const [upper] = await sql`SELECT upper('åé') AS text`;
    expect(upper?.text).toBe('ÅÉ');
    await sql.end();

    const intruder = new URL(url);
    intruder.password = 'guess';
    await expect(count(intruder.href)).rejects.toThrow('password authentication failed');
  },
  LIMIT_MS,
);

test(
  'kill -9 of the process takes PostgreSQL along, and the data is there again',
  async () => {
    const holder = await spawnHolder();
    expect(await count(holder.url, 'INSERT')).toBe(1);
    await holder.kill();
    await eventually('the watcher has stopped it', () => !isAlive(holder.postgresPid));
    expect(existsSync(join(dataDir, 'postgres', 'postmaster.pid'))).toBe(false);
    expect(await count((await start()).url)).toBe(1);
  },
  LIMIT_MS,
);

test(
  'a PostgreSQL left running blocks neither its folder nor its port',
  async () => {
    const holder = await spawnHolder();
    expect(await count(holder.url, 'INSERT')).toBe(1);
    process.kill(watcherOf(holder.postgresPid), 'SIGKILL');
    await holder.kill();
    expect(isAlive(holder.postgresPid)).toBe(true);

    const next = await start(Number(new URL(holder.url).port));
    expect(isAlive(holder.postgresPid)).toBe(false);
    expect(await count(next.url)).toBe(1);
  },
  LIMIT_MS,
);

test(
  "a stale postmaster.pid blocks nothing, and another program's pid in it is left alone",
  async () => {
    const first = await start();
    const pidFile = join(dataDir, 'postgres', 'postmaster.pid');
    const lines = readFileSync(pidFile, 'utf8').split('\n');
    await first.stop();
    const bystander = spawnBystander();
    try {
      for (const pid of [bystander.pid, 4_000_000]) {
        writeFileSync(pidFile, [pid, ...lines.slice(1)].join('\n'));
        await (await start()).stop();
      }
      expect(isAlive(bystander.pid)).toBe(true);
    } finally {
      await bystander.end();
    }
  },
  LIMIT_MS,
);

test(
  'a half-made database is made again',
  async () => {
    const half = join(dataDir, 'postgres.new-abcdef');
    mkdirSync(join(half, 'base'), { recursive: true });
    writeFileSync(join(half, 'PG_VERSION'), '18\n');
    mkdirSync(join(dataDir, 'postgres'));
    expect(await count((await start()).url, 'INSERT')).toBe(1);
    expect(existsSync(half)).toBe(false);
  },
  LIMIT_MS,
);

test(
  'a lost password file is replaced by a new password',
  async () => {
    const first = await start();
    await first.stop();
    rmSync(join(dataDir, 'postgres-password'));
    const second = await start();
    expect(new URL(second.url).password).not.toBe(new URL(first.url).password);
    expect(await count(second.url, 'INSERT')).toBe(1);
  },
  LIMIT_MS,
);

test(
  'a taken port is named, with what to do',
  async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    try {
      const error = await failure(port);
      expect(error.code).toBe('PORT_TAKEN');
      expect(error.message).toStartWith(`POSTGRES_PORT ${port} is taken: stop the program`);
    } finally {
      other.close();
    }
  },
  LIMIT_MS,
);

test(
  'a folder of another version or of no PostgreSQL is refused and left as it is',
  async () => {
    const folder = join(dataDir, 'postgres');
    mkdirSync(folder);
    writeFileSync(join(folder, 'PG_VERSION'), '17\n');
    expect((await failure()).message).toContain(
      `${folder} was made by PostgreSQL 17 and this is PostgreSQL 18: `,
    );
    rmSync(join(folder, 'PG_VERSION'));
    writeFileSync(join(folder, 'thesis.txt'), 'ten years of work');
    expect((await failure()).message).toContain(`${folder} is not a PostgreSQL folder`);
    expect(readFileSync(join(folder, 'thesis.txt'), 'utf8')).toBe('ten years of work');
  },
  LIMIT_MS,
);

test(
  "a damaged folder is refused in PostgreSQL's words",
  async () => {
    await (await start()).stop();
    truncateSync(join(dataDir, 'postgres', 'global', 'pg_control'), 100);
    const error = await failure();
    expect(error.code).toBe('POSTGRES_FAILED');
    expect(error.message).toContain('pg_control');
    expect(error.message).not.toContain('\n');
  },
  LIMIT_MS,
);

test(
  'PostgreSQL killed comes back by itself on the same port, even with a query still computing',
  async () => {
    const postgres = await start();
    expect(await count(postgres.url, 'INSERT')).toBe(1);
    for (let kill = 1; kill <= 2; kill++) {
      const killed: number = postgres.pid();
      const busy = await occupyBackend(postgres.url);
      process.kill(killed, 'SIGKILL');
      await eventually('a new server', () => postgres.pid() !== killed);
      pids.push(postgres.pid());
      expect(await count(postgres.url)).toBe(1);
      await busy.ended;
    }
  },
  LIMIT_MS,
);

test(
  'stop while it is coming back leaves nothing running',
  async () => {
    const postgres = await start();
    process.kill(postgres.pid(), 'SIGKILL');
    await eventually('the kill', () => !isAlive(postgres.pid()));
    await postgres.stop();
    expect(isAlive(postgres.pid())).toBe(false);
    await (await start()).stop();
  },
  LIMIT_MS,
);

async function start(port = 0): Promise<EmbeddedPostgres> {
  const postgres = await startPostgres({ dataDir, port, logger: pino({ level: 'silent' }) });
  started.push(postgres);
  pids.push(postgres.pid());
  return postgres;
}

async function failure(port = 0): Promise<StartError> {
  const error = await start(port).catch((reason: unknown) => reason);
  if (error instanceof StartError) return error;
  throw new Error('it did start', { cause: error });
}

/** Rows of a table of one column, after one more row where that is asked for. */
async function count(url: string, insert?: 'INSERT'): Promise<number> {
  const sql = connect(url, { max: 1 });
  try {
    await sql`CREATE TABLE IF NOT EXISTS kept (n integer)`;
    if (insert) await sql`INSERT INTO kept VALUES (1)`;
    const [row] = await sql<{ n: number }[]>`SELECT count(*) AS n FROM kept`;
    return row?.n ?? 0;
  } finally {
    await sql.end();
  }
}

/** Keeps a backend computing for a minute, so that it doesn't notice the end of its server. */
async function occupyBackend(url: string): Promise<{ ended: Promise<unknown> }> {
  const sql = connect(url, { max: 1 });
  const [backend] = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
  pids.push(backend?.pid as number);
  const query = sql`DO $$ BEGIN
    WHILE clock_timestamp() < now() + interval '1 minute' LOOP END LOOP; END $$`;
  const ended = query.catch(() => sql.end({ timeout: 1 }));
  const watch = connect(url, { max: 1 });
  await eventually('the busy query', async () => {
    const rows = await watch`SELECT FROM pg_stat_activity WHERE state = 'active' AND query ~ '^DO'`;
    return rows.length > 0;
  });
  await watch.end();
  return { ended };
}

async function spawnHolder() {
  const script = join(import.meta.dir, 'holder.ts');
  const holder = Bun.spawn(['bun', script, dataDir, '0'], { stdout: 'pipe' });
  const { value } = await holder.stdout.getReader().read();
  const [state, pid, url] = new TextDecoder().decode(value).trim().split(' ');
  if (state !== 'ready') throw new Error('the holder did not start');
  pids.push(Number(pid));
  const kill = async () => {
    holder.kill('SIGKILL');
    await holder.exited;
  };
  return { postgresPid: Number(pid), url: url as string, kill };
}

/** A program of the same name and user as the server, at work elsewhere. */
function spawnBystander() {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-bystander-'));
  chmodSync(folder, 0o755);
  copyFileSync('/bin/sleep', join(folder, 'postgres'));
  chmodSync(join(folder, 'postgres'), 0o755);
  const { uid, gid } = statSync(join(dataDir, 'postgres'));
  const child = spawn(join(folder, 'postgres'), ['60'], { uid, gid, cwd: folder, stdio: 'ignore' });
  const end = async () => {
    const exited = once(child, 'exit');
    child.kill();
    await exited;
    rmSync(folder, { recursive: true });
  };
  return { pid: child.pid as number, end };
}

function watcherOf(pid: number): number {
  const { stdout } = Bun.spawnSync(['ps', '-eo', 'pid=,args=']);
  const line = stdout
    .toString()
    .split('\n')
    .find((entry) => entry.trimEnd().endsWith(`postgres-watch ${pid}`));
  return Number(line?.trim().split(' ')[0]);
}
