import { describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { kafkaSettings } from '../src/config/kafka.ts';
import { ConfigError, loadConfig, redactUrl, SETTINGS } from '../src/config.ts';

type Env = Record<string, string | undefined>;

function faultsOf(env: Env): string[] {
  try {
    loadConfig(env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
}

describe('values', () => {
  test('where traces go, and how many', () => {
    const config = loadConfig({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Basic%20abc=, x-team=a',
      OTEL_TRACES_SAMPLER_ARG: '.5',
    });
    expect(config).toMatchObject({
      otlpEndpoint: 'http://collector:4318',
      otlpHeaders: { authorization: 'Basic abc=', 'x-team': 'a' },
      otlpRatio: 0.5,
    });
    const faults = faultsOf({ OTEL_EXPORTER_OTLP_HEADERS: 'hush hush' });
    expect(faults).toHaveLength(1);
    expect(faults[0]).not.toContain('hush');
  });

  test('an empty environment gives the defaults', () => {
    expect(loadConfig({})).toEqual({
      host: '127.0.0.1',
      model: null,
      authJwtSecret: null,
      authJwksUrl: null,
      authIssuer: null,
      authAudience: null,
      allowedOrigins: null,
      httpsCert: null,
      httpsKey: null,
      httpsClientCa: null,
      introspection: 'on',
      persistedDocuments: null,
      persistedOnly: 'off',
      requestTimeoutMs: 30_000,
      maxWebSockets: 5_000,
      maxSubscriptions: 100,
      port: 4000,
      mqttPort: 1883,
      mqttHost: '127.0.0.1',
      mqttAuth: null,
      mqttsPort: null,
      mqttsHost: '0.0.0.0',
      mqttsCert: null,
      mqttsKey: null,
      mqttsClientCa: null,
      mqttsCertUsername: 'off',
      mqttMaxConnections: 10_000,
      mqttMaxRate: 1_000,
      mqttMaxTopicBytes: 1_024,
      mqttMaxTopicLevels: 16,
      mqttMaxSubscriptions: 1_000,
      mqttMaxSessions: 100_000,
      mqttMaxRetainedBytes: 256 * 2 ** 20,
      mqttUrl: null,
      mqttVersion: '4',
      mqttUsername: null,
      mqttPassword: null,
      mqttTlsCa: null,
      mqttTlsCert: null,
      mqttTlsKey: null,
      bridge: 'on',
      bridgeSharedGroup: null,
      databaseUrl: null,
      databaseDirectUrl: null,
      postgresPort: 5433,
      dataDir: resolve('data'),
      logPartitions: 4,
      kafkaBrokers: null,
      kafkaTopic: 'iot-stream',
      kafkaGroupId: 'pulsegraph',
      kafkaPartitions: 12,
      kafkaReplication: null,
      kafkaDlqTopic: 'iot-stream-dlq',
      kafkaSaslMechanism: null,
      kafkaSaslUsername: null,
      kafkaSaslPassword: null,
      kafkaTls: 'off',
      kafkaTlsCa: null,
      kafkaTlsCert: null,
      kafkaTlsKey: null,
      logRetentionHours: 168,
      logMaxBytes: 2 ** 30,
      maxPayloadBytes: 65_536,
      batchMaxRows: 1_000,
      batchMaxWaitMs: 100,
      maxClockSkewMs: 300_000,
      retentionDays: null,
      alertRetentionDays: 365,
      eventRetentionDays: 30,
      deadLetterRetentionDays: 30,
      ruleRetentionDays: 365,
      shutdownDeadlineMs: 10_000,
      otlpEndpoint: null,
      otlpHeaders: null,
      otlpServiceName: 'pulsegraph',
      otlpRatio: 0.01,
      logLevel: 'info',
    });
  });

  test('a PEM file is read', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-config-'));
    const [pem, other] = [join(folder, 'ca.pem'), join(folder, 'other.txt')];
    const text = '-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n';
    await Promise.all([Bun.write(pem, text), Bun.write(other, 'a text')]);
    expect(loadConfig({ MQTT_TLS_CA: pem }).mqttTlsCa).toBe(text);
    expect(faultsOf({ MQTT_TLS_CA: other })[0]).toContain('is not a file of PEM text');
    expect(faultsOf({ MQTT_TLS_CERT: pem })[0]).toContain('set both, or neither');
    rmSync(folder, { recursive: true });
  });

  test('an empty variable counts as unset', () => {
    const empty = Object.fromEntries(Object.values(SETTINGS).map(({ name }) => [name, '']));
    expect(loadConfig(empty)).toEqual(loadConfig({}));
  });

  test.each([
    ['P1W', 604_800_000],
    ['P1DT2H', 93_600_000],
    ['PT1M30.5S', 90_500],
    ['PT0S', 0],
    ['90s', 90_000],
    ['5m', 300_000],
    ['500ms', 500],
    ['2h', 7_200_000],
  ])('a duration of %s', (text, ms) => {
    if (ms > 86_400_000) expect(faultsOf({ MAX_CLOCK_SKEW: text })).toHaveLength(1);
    else expect(loadConfig({ MAX_CLOCK_SKEW: text }).maxClockSkewMs).toBe(ms);
  });

  test.each([
    ['1GiB', 2 ** 30],
    ['512 mib', 2 ** 29],
    ['1048576', 2 ** 20],
  ])('a size of %s', (text, bytes) => {
    expect(loadConfig({ LOG_MAX_BYTES: text }).logMaxBytes).toBe(bytes);
  });

  test('port 0 may be asked for by all servers', () => {
    const config = loadConfig({ PORT: '0', MQTT_PORT: '0', POSTGRES_PORT: '0' });
    expect([config.port, config.mqttPort, config.postgresPort]).toEqual([0, 0, 0]);
  });
});

test('the brokers, their login and their TLS', () => {
  const login = { KAFKA_SASL_USERNAME: 'me', KAFKA_SASL_PASSWORD: 'pw' };
  const config = loadConfig({
    KAFKA_BROKERS: 'a:9092, b:9093',
    KAFKA_SASL_MECHANISM: 'scram-sha-256',
    KAFKA_TLS: 'on',
    ...login,
  });
  expect(kafkaSettings(config)).toEqual({
    brokers: ['a:9092', 'b:9093'],
    sasl: { mechanism: 'scram-sha-256', username: 'me', password: 'pw' },
    tls: { ca: null, cert: null, key: null, verify: true },
  });
  expect(kafkaSettings(loadConfig({}))).toBeNull();
  const plain = kafkaSettings(loadConfig({ KAFKA_BROKERS: 'a:1' }));
  expect(plain).toEqual({ brokers: ['a:1'], sasl: null, tls: null });
});

describe('faults', () => {
  test.each([
    ['PORT', 'abc', 'PORT: "abc" is not a port; write a number from 0 to 65535'],
    ['PORT', '65536', 'PORT: "65536" is not a port; write a number from 0 to 65535'],
    ['BATCH_MAX_ROWS', '1e3', 'is not a whole number in range; write one from 1 to 50000'],
    ['HOST', '0.0.0.0', 'is not a loopback address, and there is no authentication'],
    ['HOST', 'example.org', 'is not an address to listen on'],
    ['AUTH_JWT_SECRET', 'too short', 'a secret of 32 characters or more'],
    ['AUTH_JWKS_URL', 'id.example/jwks.json', 'https://host/path'],
    ['AUTH_JWKS_URL', 'https://id.example:99999/jwks', 'https://host/path'],
    ['AUTH_JWKS_URL', 'file:///etc/jwks.json', 'https://host/path'],
    ['ALLOWED_ORIGINS', 'app.example.org', 'https://app.example.org'],
    ['ALLOWED_ORIGINS', 'https://app.example.org/', 'without paths'],
    ['PERSISTED_DOCUMENTS', '/nowhere/documents.json', 'write the path of one'],
    ['REQUEST_TIMEOUT', '1h', 'a duration from 1s to 60s'],
    ['MAX_CLOCK_SKEW', '5', 'write such as 90s, 5m or PT5M'],
    ['MAX_CLOCK_SKEW', 'PT', 'is not a duration'],
    ['MAX_CLOCK_SKEW', 'P1M', 'is not a duration'],
    ['LOG_MAX_BYTES', '1GB', 'write bytes, or such as 512MiB'],
    ['LOG_MAX_BYTES', '10', 'is not a size from 1MiB'],
    ['OTEL_TRACES_SAMPLER_ARG', '1.5', 'write a number from 0 to 1'],
    ['LOG_LEVEL', 'loud', 'write trace, debug, info, warn, error, fatal, silent'],
    ['MQTT_URL', 'broker:1883', 'is not a URL with a host, beginning with mqtt:// or mqtts://'],
    ['DATABASE_URL', 'postgres:///db', 'is not a URL with a host'],
    ['DATA_DIR', '~/pulse', 'only a shell expands ~'],
    ['MQTT_TLS_CA', '/no/such.pem', 'is not a file of PEM text that can be read'],
    ['BRIDGE_SHARED_GROUP', 'a/b', 'is not a group name; use no /, + or #'],
    ['KAFKA_BROKERS', 'localhost', 'KAFKA_BROKERS: "localhost" has no port; write host:port'],
    ['KAFKA_BROKERS', 'a:9092,b', '"a:9092,b" has no port; write host:port,host:port'],
    ['KAFKA_BROKERS', 'kafka://a:9092', 'is no URL, but a list of brokers; write host:port'],
    ['KAFKA_BROKERS', 'me:hunter2@a:9092', '"me:***@a:9092" holds a login'],
    ['KAFKA_BROKERS', 'a:99999', 'has a port out of range (99999)'],
    ['KAFKA_BROKERS', 'a:9092,', 'is not a list of brokers ("")'],
    ['KAFKA_SASL_MECHANISM', 'plain', 'set all three, or none'],
    ['KAFKA_SASL_MECHANISM', 'gssapi', 'write plain, scram-sha-256, scram-sha-512'],
    ['KAFKA_TLS', 'yes', 'write off, on, unverified'],
    ['KAFKA_DLQ_TOPIC', 'iot-stream', 'is also KAFKA_TOPIC'],
    ['KAFKA_TOPIC', 'two words', 'is not a topic name'],
    ['POSTGRES_PORT', 'tcp://10.0.0.1:5432', 'turn enableServiceLinks off'],
    ['DATABASE_DIRECT_URL', 'postgres://h/d', 'set without DATABASE_URL'],
    ['PORT', '1883', 'MQTT_PORT: 1883 is also PORT'],
  ])('%s=%s', (name, value, fault) => {
    const faults = faultsOf({ [name]: value });
    expect(faults).toHaveLength(1);
    expect(faults[0]).toContain(fault);
  });

  test('all are reported together, in one message', () => {
    const faults = faultsOf({ PORT: 'x', HOST: '1.2.3.4', LOG_LEVEL: 'x', BATCH_MAX_ROW: '1' });
    expect(faults.map((fault) => fault.split(/[: ]/)[0])).toEqual([
      'PORT',
      'LOG_LEVEL',
      'HOST',
      'BATCH_MAX_ROW',
    ]);
    expect(new ConfigError(faults).message).toContain('PORT: "x"');
  });

  test('with tokens any address will do, and the secret is never shown', () => {
    const AUTH_JWT_SECRET = 'k'.repeat(32);
    expect(loadConfig({ HOST: '0.0.0.0', AUTH_JWT_SECRET }).host).toBe('0.0.0.0');
    expect(faultsOf({ AUTH_JWT_SECRET: 'my short one' })[0]).not.toContain('short one');
  });

  test('tokens have one kind of key, and what needs tokens says so', () => {
    const AUTH_JWT_SECRET = 'k'.repeat(32);
    const AUTH_JWKS_URL = 'https://id.example/jwks.json';
    expect(loadConfig({ HOST: '0.0.0.0', AUTH_JWKS_URL }).host).toBe('0.0.0.0');
    expect(faultsOf({ AUTH_JWT_SECRET, AUTH_JWKS_URL })).toEqual([
      expect.stringContaining('set one of the two'),
    ]);
    for (const [name, value] of [
      ['AUTH_ISSUER', 'https://id.example'],
      ['AUTH_AUDIENCE', 'pulsegraph'],
      ['ALLOWED_ORIGINS', '*'],
    ] as const) {
      expect(faultsOf({ [name]: value })).toEqual([
        expect.stringMatching(new RegExp(`^${name}: .*AUTH_JWT`)),
      ]);
      expect(() => loadConfig({ [name]: value, AUTH_JWT_SECRET })).not.toThrow();
    }
    expect(faultsOf({ PERSISTED_ONLY: 'on' })).toEqual([
      expect.stringContaining('set PERSISTED_DOCUMENTS too'),
    ]);
  });

  test('the port of an embedded part that is not started clashes with nothing', () => {
    expect(loadConfig({ PORT: '1883', MQTT_URL: 'mqtt://broker' }).port).toBe(1883);
  });
});

describe('variables that are no settings', () => {
  test.each([
    ['BATCH_MAX_ROW', 'BATCH_MAX_ROWS'],
    ['DATABASE_ULR', 'DATABASE_URL'],
    ['LOG_PARTITION', 'LOG_PARTITIONS'],
    ['PULSEGRAPH_PORT', 'PORT'],
    ['MQTT_PROT', 'MQTT_PORT'],
    ['KAFKA_TOPICS', 'KAFKA_TOPIC'],
    ['data_dir', 'DATA_DIR'],
  ])('%s was meant to be %s', (name, meant) => {
    expect(faultsOf({ [name]: '1' })).toEqual([`${name} is not a setting: did you mean ${meant}?`]);
  });

  test("a shell's own variables are nobody's fault", () => {
    const shell = `HOME PATH HOSTNAME HOSTTYPE LOGNAME LOGLEVEL PORTS LOG_DIR XDG_DATA_DIRS MAX_JOBS
      POSTGRES_HOST POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB PGPORT DATA_HOME DATABASE_HOST
      KAFKA_HOME KAFKA_OPTS KAFKA_HEAP_OPTS KAFKA_SERVICE_HOST MQTT_PORT_1883_TCP_ADDR
      MQTT_SERVICE_PORT BATCH_TASK_INDEX npm_config_user_agent npm_package_json NODE_ENV _`;
    const env = Object.fromEntries(shell.split(/\s+/).map((name) => [name, '1']));
    expect(faultsOf(env)).toEqual([]);
    expect(faultsOf({ KAFKA_HOME: '/opt/kafka', MQTT_HOST: 'a' })).toHaveLength(1);
  });

  test('an empty one is unset', () => {
    expect(faultsOf({ BATCH_MAX_ROW: '' })).toEqual([]);
  });
});

describe('secrets', () => {
  test.each([
    ['postgres://u:pw@h:5432/d', 'postgres://u:***@h:5432/d'],
    ['postgres://u:p@pw/x@h/d', 'postgres://u:***@h/d'],
    ['postgres://:pw@h/d', 'postgres://:***@h/d'],
    ['postgres://h/d?user=u&password=pw', 'postgres://h/d?user=u&password=***'],
    ['u:pw@h', 'u:***@h'],
    ['mqtt://h:1883', 'mqtt://h:1883'],
  ])('%s', (url, redacted) => {
    expect(redactUrl(url)).toBe(redacted);
  });

  test('no fault shows a password, however malformed its URL is', () => {
    const mark = 'hunter2';
    const piece = fc.string({ maxLength: 6 });
    const scheme = fc.constantFrom('postgres://', 'postgre://', 'postgres:/', 'mqtt://', '');
    const user = piece.map((s) => s.replaceAll(/[:@/?#]/g, ''));
    fc.assert(
      fc.property(scheme, user, piece, piece, (start, name, before, after) => {
        const env = { DATABASE_URL: `${start}${name}:${before}${mark}${after}@host:x` };
        expect(faultsOf(env).join()).not.toContain(mark);
      }),
    );
  });
});
