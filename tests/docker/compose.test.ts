import { describe, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig } from '../../src/config.ts';
import { exampleEnv, hoconValue, interpolations, ROOT, readCompose, readText } from './stack.ts';

const env = exampleEnv();
const { services, volumes } = await readCompose(env);
const entries = Object.entries(services);
const waitedFor = entries.flatMap(([, service]) => Object.entries(service.depends_on ?? {}));
/** Services that run once and end. */
const tasks = new Set(
  waitedFor
    .filter(([, { condition }]) => condition === 'service_completed_successfully')
    .map(([name]) => name),
);

test('the stack has every part', () => {
  expect(Object.keys(services).sort()).toEqual(
    [
      'accounts',
      'console',
      'emqx',
      'grafana',
      'pgbouncer',
      'prometheus',
      'pulsegraph',
      'redpanda',
      'redpanda-init',
      'timescaledb',
      'vector',
    ].sort(),
  );
  expect([...tasks].sort()).toEqual(['accounts', 'redpanda-init']);
});

describe.each(entries)('%s', (name, service) => {
  test('has a pinned image', () => {
    const tag = service.image.split(':').at(-1) ?? '';
    expect(tag).toMatch(/^v?\d+\.\d+\.\d+/);
  });

  test('is started again', () => {
    expect(service.restart).toBe(tasks.has(name) ? 'on-failure' : 'unless-stopped');
  });

  test('is checked', async () => {
    if (tasks.has(name)) return expect(service.healthcheck).toBeUndefined();
    if (service.build) return expect(await readText('Dockerfile')).toContain('HEALTHCHECK');
    expect(service.healthcheck?.test[0]).toMatch(/^CMD(-SHELL)?$/);
    expect(service.healthcheck?.interval).toMatch(/^\d+s$/);
    expect(service.healthcheck?.retries).toBeGreaterThan(0);
  });

  test('is published on loopback only', () => {
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  });

  test('waits for services that can say that they are ready', () => {
    for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
      const wanted = tasks.has(other) ? 'service_completed_successfully' : 'service_healthy';
      expect(`${other} ${condition}`).toBe(`${other} ${wanted}`);
      expect(Object.keys(services)).toContain(other);
    }
  });

  test('mounts files that exist and volumes that are declared', () => {
    for (const volume of service.volumes ?? []) {
      const [source = '', target = ''] = volume.split(':');
      expect(target).toStartWith('/');
      if (source.startsWith('.')) expect(existsSync(join(ROOT, source)), source).toBeTrue();
      else expect(Object.keys(volumes)).toContain(source);
    }
  });
});

test('every volume is used', () => {
  const used = entries.flatMap(([, { volumes }]) => (volumes ?? []).map((v) => v.split(':')[0]));
  expect(Object.keys(volumes).filter((name) => !used.includes(name))).toEqual([]);
});

test('no two services want one port', () => {
  const ports = entries.flatMap(([, { ports }]) => (ports ?? []).map((port) => port.split(':')[1]));
  expect(new Set(ports).size).toBe(ports.length);
});

test('every variable has a value in .env.example or a default', async () => {
  const unset = (await interpolations()).filter(
    ({ name, operator }) => operator !== ':-' && !env[name],
  );
  expect(unset).toEqual([]);
});

test('without .env it says what to do', async () => {
  await expect(readCompose({})).rejects.toThrow('copy .env.example to .env');
});

test('init.sql is run by the database image after its own scripts', () => {
  const mount = services.timescaledb?.volumes?.find((volume) => volume.startsWith('./init.sql:'));
  const [, target = '', mode] = mount?.split(':') ?? [];
  expect(mode).toBe('ro');
  const [, name = ''] = target.split('/docker-entrypoint-initdb.d/');
  expect(name).toEndWith('.sql');
  expect(['001_timescaledb_tune.sh', name].sort()[1]).toBe(name);
});

test('Redpanda advertises what each side can reach', async () => {
  const flag = (name: string) =>
    services.redpanda?.command?.find((word) => word.startsWith(`--${name}=`))?.split('=')[1];
  expect(flag('advertise-kafka-addr')).toBe(
    `internal://${services.vector?.environment?.KAFKA_BROKERS},external://${env.KAFKA_BROKERS}`,
  );
  expect(services.redpanda?.ports).toEqual([`${env.KAFKA_BROKERS}:19092`]);
  expect(flag('kafka-addr')).toBe('internal://0.0.0.0:9092,external://0.0.0.0:19092');
  expect(services.console?.environment?.KAFKA_BROKERS).toBe('redpanda:9092');
});

test('Redpanda waits for the disk', () => {
  const words = services.redpanda?.command?.join(' ') ?? '';
  expect(words).not.toMatch(/unsafe-bypass-fsync|dev-container|write_caching/);
});

test('the log is made with the topics and the partitions of Pulsegraph', () => {
  const { entrypoint, environment } = services['redpanda-init'] ?? {};
  const { kafkaTopic, kafkaDlqTopic, kafkaPartitions } = loadConfig(env);
  expect(entrypoint?.slice(0, 5)).toEqual(['rpk', 'topic', 'create', kafkaTopic, kafkaDlqTopic]);
  expect(entrypoint).toContain(`--partitions=${kafkaPartitions}`);
  expect(entrypoint).toContain('--if-not-exists');
  expect(environment?.RPK_BROKERS).toBe(services.vector?.environment?.KAFKA_BROKERS ?? '');
});

test('the addresses in .env.example are published ports of the right services', async () => {
  const published = (name: string, inside: string) =>
    services[name]?.ports?.find((port) => port.endsWith(`:${inside}`))?.replace(/:\d+$/, '') ?? '';
  const conf = await readText('docker/emqx.conf');
  const [, listener = ''] = hoconValue(conf, 'bind', 'listeners.tcp.services').split(':');
  expect(new URL(env.MQTT_URL ?? '').host).toBe(published('emqx', listener));
  expect(new URL(env.DATABASE_URL ?? '').host).toBe(published('pgbouncer', '6432'));
  expect(new URL(env.DATABASE_DIRECT_URL ?? '').host).toBe(published('timescaledb', '5432'));
});

test('PgBouncer pools by transaction, in front of the same database', () => {
  const { POOL_MODE, LISTEN_PORT, DB_HOST, DB_NAME } = services.pgbouncer?.environment ?? {};
  expect([POOL_MODE, LISTEN_PORT, DB_HOST]).toEqual(['transaction', '6432', 'timescaledb']);
  expect(DB_NAME).toBe(services.timescaledb?.environment?.POSTGRES_DB as string);
});

test('BRIDGE is the one switch between Vector and the bridge inside', () => {
  expect(env.BRIDGE).toBe('off');
  expect(env.COMPOSE_PROFILES?.split(',')).toContain(`bridge-${env.BRIDGE}`);
  expect(services.vector?.profiles).toEqual(['bridge-off']);
  expect(services.pulsegraph?.profiles).toEqual(['app']);
});
