import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, isAlive } from './process.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const JARS = join(ROOT, 'node_modules', '.cache', 'kafka-4.1.1');
const POM = join(import.meta.dirname, 'kafka', 'pom.xml');
const FOLDER_PREFIX = 'pulsegraph-kafka-';
const JAVA = 'java';
const START_MS = 60_000;
const STOP_MS = 30_000;

/** One process of Apache Kafka over a folder of its own. */
export interface KafkaNode {
  /** On the same ports and data as before. Resolves when it takes connections. */
  start(): Promise<void>;
  /** `SIGKILL` by default; resolves when the process is gone. */
  stop(signal?: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** Stops it and removes its folder. */
  remove(): Promise<void>;
}

export interface KafkaNodeOptions {
  folder: string;
  /** The text of server.properties. */
  properties: string;
  /** The same for all nodes of a cluster. */
  clusterId: string;
  /** That of the listener whose connections say that it is up. */
  port: number;
  jvm: readonly string[];
  /** Further arguments for formatting its data folder. */
  formatWith?: string[];
}

/** Soon up, and small; its requests cost half as much again. */
export const quickJvm = (heapMb: number) => [
  `-Xmx${heapMb}m`,
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
];

/** As Kafka's own script starts it. */
export const SERVICE_JVM = ['-Xmx1G', '-Xms1G', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20'];

/** Whether Kafka can run here: Java, and either its jars or Maven to get them. */
export function canRunKafka(): boolean {
  return Bun.which('java') !== null && (existsSync(JARS) || Bun.which('mvn') !== null);
}

/** For `createKafkaNode`; once its owner is dead, somebody's next call removes it. */
export function makeNodeFolder(): string {
  removeLeftFolders();
  return mkdtempSync(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-`));
}

export function newClusterId(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('base64url');
}

/** Formats its data folder (about a second); `start` starts it. */
export function createKafkaNode(options: KafkaNodeOptions): KafkaNode {
  const { folder, port, jvm } = options;
  fetchJars();
  const properties = join(folder, 'server.properties');
  writeFileSync(properties, options.properties);
  const tool = ['-XX:TieredStopAtLevel=1', '-cp', `${JARS}/*`, 'kafka.tools.StorageTool', 'format'];
  const cluster = `--cluster-id=${options.clusterId}`;
  run(JAVA, [...tool, '--config', properties, cluster, ...(options.formatWith ?? [])]);
  let child: ChildProcess | null = null;

  async function start(): Promise<void> {
    const output = openSync(join(folder, 'output.log'), 'a');
    const java = spawn(JAVA, [...jvm, '-cp', `${JARS}/*`, 'kafka.Kafka', properties], {
      stdio: ['ignore', output, output],
      detached: true,
    });
    child = java;
    java.unref();
    closeSync(output);
    writeFileSync(join(folder, 'java.pid'), String(java.pid));
    await eventually(
      `Kafka up (${folder}/output.log)`,
      async () => {
        if (hasEnded(java)) {
          const log = readFileSync(join(folder, 'output.log'), 'utf8');
          throw new Error(`Kafka ended: ${log.slice(-2_000)}`);
        }
        return takesConnections(port);
      },
      START_MS,
    );
  }

  async function stop(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    if (child === null) return;
    const ending = child;
    child = null;
    ending.kill(signal);
    // Not by its state: while its threads end, its ports still take connections.
    await eventually('Kafka gone', () => hasEnded(ending), STOP_MS);
  }

  return {
    start,
    stop,
    async remove() {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  const ports = await Promise.all(
    servers.map(async (server) => {
      if (!server.listening) await new Promise((resolve) => server.once('listening', resolve));
      return (server.address() as { port: number }).port;
    }),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export function run(command: string, args: string[]): void {
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return;
  throw new Error(`${command} failed: ${error?.message ?? ''}${stdout}${stderr}`.slice(0, 4_000));
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** The jars of tests/support/kafka/pom.xml, some 43 MB, fetched once. */
function fetchJars(): void {
  if (existsSync(JARS)) return;
  mkdirSync(join(JARS, '..'), { recursive: true });
  const fresh = mkdtempSync(`${JARS}-`);
  const goal = ['dependency:copy-dependencies', `-DoutputDirectory=${fresh}`];
  run('mvn', ['-q', '-B', '-f', POM, ...goal]);
  if (existsSync(JARS)) rmSync(fresh, { recursive: true });
  else renameSync(fresh, JARS);
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Of runs that were killed: their broker goes on without them. */
function removeLeftFolders(): void {
  for (const name of readdirSync(tmpdir())) {
    const owner = Number(name.startsWith(FOLDER_PREFIX) && name.split('-')[2]);
    if (!owner || isAlive(owner)) continue;
    const folder = join(tmpdir(), name);
    const pidFile = join(folder, 'java.pid');
    const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0;
    // The number may be another process's by now.
    if (pid && commandLine(pid).includes(folder)) process.kill(pid, 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
