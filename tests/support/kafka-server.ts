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

/** Users of the SASL listener, known to PLAIN and to both kinds of SCRAM. */
export const SASL_USERS = { device: 'device-secret', limited: 'limited-secret' };

/** A real Apache Kafka in KRaft mode: one broker that is its own controller, on loopback. */
export interface KafkaServer {
  brokers: string[];
  saslBrokers: string[];
  tlsBrokers: string[];
  /** PEM of the certificate that the TLS listener shows. */
  caFile: string;
  /** On the same ports and data as before. Resolves when it takes connections. */
  start(): Promise<void>;
  /** `SIGKILL` by default; resolves when the process is gone. */
  stop(signal?: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** Stops it and removes its folder. */
  remove(): Promise<void>;
}

/** Whether Kafka can run here: Java, and either its jars or Maven to get them. */
export function canRunKafka(): boolean {
  return Bun.which('java') !== null && (existsSync(JARS) || Bun.which('mvn') !== null);
}

export async function createKafkaServer(): Promise<KafkaServer> {
  removeLeftFolders();
  fetchJars();
  const folder = mkdtempSync(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-`));
  const [plain, sasl, tls, controller] = (await freePorts(4)) as [number, number, number, number];
  const caFile = makeCertificate(folder);
  const properties = join(folder, 'server.properties');
  writeFileSync(properties, serverProperties({ folder, plain, sasl, tls, controller }));
  format(properties);
  let child: ChildProcess | null = null;

  async function start(): Promise<void> {
    const output = openSync(join(folder, 'output.log'), 'a');
    const heap = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
    const java = spawn(JAVA, [...heap, '-cp', `${JARS}/*`, 'kafka.Kafka', properties], {
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
        return takesConnections(plain);
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
    await eventually('Kafka gone', () => hasEnded(ending), 20_000);
  }

  return {
    brokers: [`127.0.0.1:${plain}`],
    saslBrokers: [`127.0.0.1:${sasl}`],
    tlsBrokers: [`localhost:${tls}`],
    caFile,
    start,
    stop,
    async remove() {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** A killed broker is let in again when its session has ended: 9 s by default. */
function serverProperties(options: {
  folder: string;
  plain: number;
  sasl: number;
  tls: number;
  controller: number;
}): string {
  const { folder, plain, sasl, tls, controller } = options;
  const users = Object.entries(SASL_USERS).map(([name, secret]) => `user_${name}="${secret}"`);
  const login = 'org.apache.kafka.common.security';
  const saslPlain = `${login}.plain.PlainLoginModule required ${users.join(' ')};`;
  const scram = `${login}.scram.ScramLoginModule required;`;
  return `
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${plain},SASL_PLAINTEXT://127.0.0.1:${sasl},SSL://localhost:${tls},\
CONTROLLER://127.0.0.1:${controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,\
CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=${saslPlain}
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=${scram}
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=${scram}
ssl.keystore.type=PEM
ssl.keystore.location=${folder}/server.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
log.dirs=${folder}/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
`;
}

function format(properties: string): void {
  const scram = Object.entries(SASL_USERS).flatMap(([name, password]) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${name},password=${password}]`,
    ]),
  );
  const clusterId = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('base64url');
  const tool = ['-cp', `${JARS}/*`, 'kafka.tools.StorageTool', 'format'];
  run(JAVA, [...tool, '--config', properties, `--cluster-id=${clusterId}`, ...scram]);
}

/** A self-signed certificate for localhost, its key beside it. */
function makeCertificate(folder: string): string {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'ca.pem')];
  const subject = [
    '-subj',
    '/CN=localhost',
    '-addext',
    'subjectAltName=DNS:localhost,IP:127.0.0.1',
  ];
  const out = ['-keyout', key, '-out', cert];
  run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    ...subject,
    ...out,
  ]);
  writeFileSync(join(folder, 'server.pem'), readFileSync(key, 'utf8') + readFileSync(cert, 'utf8'));
  return cert;
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

function run(command: string, args: string[]): void {
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return;
  throw new Error(`${command} failed: ${error?.message ?? ''}${stdout}${stderr}`.slice(0, 4_000));
}

async function freePorts(count: number): Promise<number[]> {
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
