import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, isAlive } from './process.ts';

/** The real process, started as a child from its entry. */
export interface TestApp {
  /** With the path /graphql. */
  readonly graphqlUrl: string;
  readonly mqttUrl: string;
  /** Of the embedded database, with the password of its file. */
  readonly databaseUrl: string;
  readonly dataDir: string;
  readonly pid: number;
  /** Of the embedded PostgreSQL. */
  postgresPid(): number;
  /** What it has written since its last start. */
  stdout(): string;
  stderr(): string;
  signal(name: NodeJS.Signals): void;
  /** Resolves with the exit code when the process has ended by itself. */
  exited(): Promise<number | null>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL to the process alone; resolves when it is gone. */
  kill(): Promise<void>;
  /** On the same data and the same ports, after `stop` or `kill`. */
  restart(): Promise<void>;
  /** Ends what runs and removes the data. @throws Error when a process or a port is left. */
  remove(): Promise<void>;
}

export type Settings = Record<string, string>;

const ROOT = join(import.meta.dir, '..', '..');
const START_DEADLINE_MS = 30_000;

/** Starts it on free ports and a data folder of its own, and waits until /readyz says ok. */
export async function startTestApp(settings: Settings = {}): Promise<TestApp> {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-app-'));
  const dataDir = join(folder, 'data');
  let env: Settings = { PORT: '0', MQTT_PORT: '0', POSTGRES_PORT: '0', ...settings };
  let child = spawnApp({ DATA_DIR: dataDir, ...env });
  const remove = async () => {
    child.process.kill('SIGKILL');
    await child.process.exited;
    const orphans = () => processesIn(folder);
    const isGone = eventually('no process in the data folder', () => orphans().length === 0);
    await isGone.finally(() => {
      for (const pid of orphans()) process.kill(pid, 'SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    });
  };
  const places = await ready(child).catch(async (error) => {
    await remove();
    throw error;
  });
  const password = readFileSync(join(dataDir, 'postgres-password'), 'utf8').trim();
  env = { ...env, ...portsOf(places) };

  return {
    graphqlUrl: places.GraphiQL,
    mqttUrl: places.MQTT,
    databaseUrl: places.Database.replace(':***@', `:${password}@`),
    dataDir,
    get pid() {
      return child.process.pid;
    },
    postgresPid: () =>
      Number(readFileSync(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]),
    stdout: () => child.text.stdout,
    stderr: () => child.text.stderr,
    signal: (name) => child.process.kill(name),
    exited: () => exitOf(child),
    async stop() {
      child.process.kill('SIGTERM');
      return await exitOf(child);
    },
    async kill() {
      child.process.kill('SIGKILL');
      await child.process.exited;
    },
    async restart() {
      child = spawnApp({ DATA_DIR: dataDir, ...env });
      await ready(child);
    },
    async remove() {
      await remove();
      const open = await Promise.all(Object.values(portsOf(places)).map((port) => isOpen(+port)));
      if (open.includes(true)) throw new Error(`a port is still open: ${JSON.stringify(places)}`);
    },
  };
}

/** Of a process that ends by itself. `processes`: those that it left running in its data folder. */
export interface Ended {
  code: number | null;
  stdout: string;
  /** One line each, without empty ones. */
  stderr: string[];
  processes: number[];
}

/** Runs it to its end; one that doesn't end is killed and reported with code null. */
export async function runApp(dataDir: string, settings: Settings = {}): Promise<Ended> {
  const ports = { PORT: '0', MQTT_PORT: '0', POSTGRES_PORT: '0' };
  const child = spawnApp({ DATA_DIR: dataDir, ...ports, ...settings });
  const code = await exitOf(child);
  const { stdout, stderr } = child.text;
  const lines = stderr.split('\n').filter((line) => line !== '');
  return { code, stdout, stderr: lines, processes: processesIn(dataDir) };
}

export interface Child {
  process: Bun.Subprocess<'ignore', 'pipe', 'pipe'>;
  text: { stdout: string; stderr: string };
  /** Resolves when both streams have ended. */
  drained: Promise<unknown>;
}

/** With nothing of this process's environment that it could take for a setting. */
export function spawnApp(settings: Settings): Child {
  const { PATH = '', HOME = '' } = process.env;
  const child = Bun.spawn([process.execPath, '--no-env-file', 'src/index.ts'], {
    cwd: ROOT,
    env: { PATH, HOME, ...settings },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const text = { stdout: '', stderr: '' };
  const read = async (name: 'stdout' | 'stderr') => {
    const decoder = new TextDecoder();
    for await (const chunk of child[name]) text[name] += decoder.decode(chunk, { stream: true });
  };
  return { process: child, text, drained: Promise.all([read('stdout'), read('stderr')]) };
}

export async function exitOf(child: Child, deadlineMs = START_DEADLINE_MS): Promise<number | null> {
  const timer = setTimeout(() => child.process.kill('SIGKILL'), deadlineMs);
  await child.process.exited;
  clearTimeout(timer);
  await child.drained;
  return child.process.exitCode;
}

export type Places = Record<'GraphiQL' | 'MQTT' | 'Database' | 'Data', string>;

/** The places that the banner names, once /readyz agrees. */
export async function ready(child: Child): Promise<Places> {
  let places: Partial<Places> = {};
  await eventually(
    'the process is ready',
    async () => {
      const { exitCode } = child.process;
      if (exitCode !== null) throw new Error(`it ended with ${exitCode}: ${child.text.stderr}`);
      const lines = child.text.stdout.matchAll(/^ {2}(GraphiQL|MQTT|Database|Data) +(\S+)/gm);
      places = Object.fromEntries([...lines].map(([, name, place]) => [name, place]));
      if (!places.Data || !places.GraphiQL) return false;
      return await fetch(new URL('/readyz', places.GraphiQL)).then(({ ok }) => ok);
    },
    START_DEADLINE_MS,
  );
  return places as Places;
}

function portsOf({ GraphiQL, MQTT, Database }: Places): Settings {
  const port = (url: string) => new URL(url).port;
  return { PORT: port(GraphiQL), MQTT_PORT: port(MQTT), POSTGRES_PORT: port(Database) };
}

/** The processes that work in a folder or below it: PostgreSQL and its watcher. Linux only. */
export function processesIn(folder: string): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`).startsWith(`${folder}/`) && isAlive(pid);
      } catch {
        return false;
      }
    });
}

/** Whether somebody listens on a loopback port. */
export async function isOpen(port: number): Promise<boolean> {
  try {
    const socket = await Bun.connect({ hostname: '127.0.0.1', port, socket: { data() {} } });
    socket.end();
    return true;
  } catch {
    return false;
  }
}
