/** The environment, read here and nowhere else. docs/configuration.md is made from this table. */
import { z } from 'zod';
import { API_SETTINGS, apiContradictions, openDoor } from './config/api.ts';
import { BROKER_SETTINGS, brokerContradictions } from './config/broker.ts';
import { BROKER_LIMIT_SETTINGS } from './config/broker-limits.ts';
import { KAFKA_SETTINGS, kafkaContradictions } from './config/kafka.ts';
import {
  address,
  duration,
  filePath,
  folder,
  integer,
  type Kind,
  oneOf,
  pemFile,
  port,
  size,
  text,
  url,
} from './config/kinds.ts';
import { type Setting, setting } from './config/setting.ts';
import { TRACING_SETTINGS } from './config/tracing.ts';
import { unknownSettings } from './config/unknown.ts';

export type { Setting } from './config/setting.ts';

const MIB = 2 ** 20;
const postgresUrl = url(['postgres', 'postgresql'], 'postgres://user:password@host:5432/database');
const anyText = text('text', /^/, 'write any text');
const days = integer(1, 36_500);

/** Every setting, in the order of the documentation. */
export const SETTINGS = {
  host: setting(
    'HOST',
    address,
    '127.0.0.1',
    'Address of the API. Another than loopback needs tokens. The embedded broker has `MQTT_HOST`; ' +
      'the embedded PostgreSQL stays on loopback.',
  ),
  ...API_SETTINGS,
  port: setting('PORT', port, '4000', 'GraphQL, GraphiQL, WebSocket and health checks.'),
  mqttPort: setting('MQTT_PORT', port, '1883', 'The embedded MQTT broker.'),
  ...BROKER_SETTINGS,
  ...BROKER_LIMIT_SETTINGS,
  mqttUrl: setting(
    'MQTT_URL',
    url(['mqtt', 'mqtts'], 'mqtt://host:1883'),
    null,
    'Use this MQTT broker; the embedded one is not started. May hold user and password.',
  ),
  mqttVersion: setting(
    'MQTT_VERSION',
    oneOf('4', '5'),
    '4',
    'MQTT spoken to `MQTT_URL`: 4 is 3.1.1, which every broker knows; 5 gives reasons for refusals.',
  ),
  mqttUsername: setting('MQTT_USERNAME', anyText, null, 'User at `MQTT_URL`.'),
  mqttPassword: setting('MQTT_PASSWORD', anyText, null, 'Its password.'),
  mqttTlsCa: setting(
    'MQTT_TLS_CA',
    pemFile,
    null,
    'Certificates that an `mqtts://` broker is checked against, in place of the public ones.',
  ),
  mqttTlsCert: setting(
    'MQTT_TLS_CERT',
    pemFile,
    null,
    'Certificate shown to an `mqtts://` broker that asks for one.',
  ),
  mqttTlsKey: setting('MQTT_TLS_KEY', pemFile, null, 'The key of that certificate.'),
  bridge: setting(
    'BRIDGE',
    oneOf('on', 'off'),
    'on',
    'Take telemetry from `MQTT_URL` into the log. `off` where something else does, such as Vector.',
  ),
  bridgeSharedGroup: setting(
    'BRIDGE_SHARED_GROUP',
    text('group name', /^[^/+#\0]{1,200}$/, 'use no /, + or #'),
    null,
    'Every replica bridges, as a member of this shared subscription, in place of one elected. Only ' +
      'where the broker keeps a topic with one member (EMQX: `hash_topic`); others reorder messages.',
  ),
  databaseUrl: setting(
    'DATABASE_URL',
    postgresUrl,
    null,
    'Use this PostgreSQL (15 or later, with or without TimescaleDB); the embedded one is not ' +
      'started. May be a transaction pooler.',
  ),
  databaseDirectUrl: setting(
    'DATABASE_DIRECT_URL',
    postgresUrl,
    null,
    'The same database past the pooler, for migrations, LISTEN and session locks. ' +
      'Not needed where `DATABASE_URL` is no pooler.',
  ),
  postgresPort: setting('POSTGRES_PORT', port, '5433', 'The embedded PostgreSQL.'),
  dataDir: setting(
    'DATA_DIR',
    folder(),
    './data',
    'Everything that the embedded parts keep. One process at a time.',
  ),
  model: setting(
    'MODEL',
    filePath,
    null,
    'Model file of the data, such as `examples/ticks/model.ts`, in place of src/model.ts. One ' +
      'database holds the readings of one model.',
  ),
  ...KAFKA_SETTINGS,
  logPartitions: setting(
    'LOG_PARTITIONS',
    integer(1, 64),
    '4',
    'Partitions of the embedded log; each is read by a lane of its own.',
  ),
  logRetentionHours: setting(
    'LOG_RETENTION_HOURS',
    integer(1, 87_600),
    '168',
    'Age at which the embedded log drops records, once they are stored.',
  ),
  logMaxBytes: setting(
    'LOG_MAX_BYTES',
    size(MIB, 2 ** 40),
    '1GiB',
    'Size at which the embedded log drops its oldest records, once they are stored. Full of ' +
      'records that are not: no message is acknowledged until there is room.',
  ),
  maxPayloadBytes: setting(
    'MAX_PAYLOAD_BYTES',
    size(256, 16 * MIB),
    '65536',
    'Larger telemetry payloads become dead letters.',
  ),
  batchMaxRows: setting(
    'BATCH_MAX_ROWS',
    integer(1, 50_000),
    '1000',
    'Readings in one transaction while the stream is live.',
  ),
  batchMaxWaitMs: setting(
    'BATCH_MAX_WAIT_MS',
    integer(0, 60_000),
    '100',
    'Milliseconds after which a batch is written though it is not full.',
  ),
  maxClockSkewMs: setting(
    'MAX_CLOCK_SKEW',
    duration('0s', '1d'),
    'PT5M',
    'A reading dated further ahead of its arrival is stored and not evaluated.',
  ),
  retentionDays: setting(
    'RETENTION_DAYS',
    days,
    null,
    'Age at which readings are deleted, by whole months (weeks with TimescaleDB) once the last ' +
      'reading in it is so old. Unset: never.',
  ),
  alertRetentionDays: setting(
    'ALERT_RETENTION_DAYS',
    days,
    '365',
    'Age at which resolved alerts are deleted.',
  ),
  eventRetentionDays: setting(
    'EVENT_RETENTION_DAYS',
    days,
    '30',
    'Age at which transitions of alerts are deleted, once published: how far `alertEvents` reaches.',
  ),
  deadLetterRetentionDays: setting(
    'DEAD_LETTER_RETENTION_DAYS',
    days,
    '30',
    'Age at which dead letters are deleted.',
  ),
  ruleRetentionDays: setting(
    'RULE_RETENTION_DAYS',
    days,
    '365',
    'Age at which former versions of rules are deleted.',
  ),
  shutdownDeadlineMs: setting(
    'SHUTDOWN_DEADLINE',
    duration('1s', '10m'),
    '10s',
    'Time to store what was read, after the first SIGINT or SIGTERM. A second one forces.',
  ),
  ...TRACING_SETTINGS,
  logLevel: setting(
    'LOG_LEVEL',
    oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    'info',
    'Lowest level that is logged.',
  ),
} as const;

type Settings = typeof SETTINGS;

/** One field for each setting; null where it is unset and has no default. Units are in the names. */
export type Config = {
  readonly [K in keyof Settings]: Settings[K] extends Setting<infer T, infer Default>
    ? null extends Default
      ? T | null
      : T
    : never;
};

export class ConfigError extends Error {
  override name = 'ConfigError';
  /** @param faults one line each: the setting, what is wrong with it, what to write */
  constructor(readonly faults: string[]) {
    super(`the configuration has ${faults.length} fault(s):\n  ${faults.join('\n  ')}`);
  }
}

/**
 * Reads and checks every setting at once. An empty variable counts as unset.
 *
 * @throws ConfigError with all faults together, values without their secrets
 */
export function loadConfig(env: Record<string, string | undefined>): Config {
  const entries = Object.entries(SETTINGS) as [keyof Config, Setting<unknown>][];
  const schema = z.object(
    Object.fromEntries(entries.map(([field, { kind }]) => [field, kind.schema.nullable()])),
  );
  const result = schema.safeParse(
    Object.fromEntries(
      entries.map(([field, { name, default: text }]) => [field, env[name] || text]),
    ),
  );
  const names = entries.map(([, { name }]) => name);
  const faults = result.success
    ? contradictions(result.data as Config)
    : result.error.issues.map((issue) => {
        const { name, kind } = SETTINGS[issue.path[0] as keyof Config];
        return `${name}: ${shown(kind, env[name] ?? '')} ${issue.message}`;
      });
  faults.push(...openDoor(env, SETTINGS.host.default), ...unknownSettings(env, names));
  if (faults.length > 0 || !result.success) throw new ConfigError(faults);
  return result.data as Config;
}

/** A value as a fault shows it. */
function shown(kind: Kind<unknown>, value: string): string {
  if (kind.isSecret) return '***';
  return JSON.stringify(kind.isUrl ? redactUrl(value) : value);
}

/** Settings that are right one by one and wrong together. */
function contradictions(config: Config): string[] {
  const faults: string[] = [];
  const ports = [
    [SETTINGS.port.name, config.port],
    ...(config.mqttUrl === null ? [[SETTINGS.mqttPort.name, config.mqttPort] as const] : []),
    ...(config.mqttUrl === null && config.mqttsPort !== null
      ? [[SETTINGS.mqttsPort.name, config.mqttsPort] as const]
      : []),
    ...(config.databaseUrl === null
      ? [[SETTINGS.postgresPort.name, config.postgresPort] as const]
      : []),
  ] as const;
  for (const [i, [name, port]] of ports.entries()) {
    const other = ports.slice(0, i).find(([, taken]) => taken === port && port !== 0);
    if (other) faults.push(`${name}: ${port} is also ${other[0]}; give each its own`);
  }
  if ((config.mqttTlsCert === null) !== (config.mqttTlsKey === null)) {
    faults.push('MQTT_TLS_CERT, MQTT_TLS_KEY: set both, or neither');
  }
  if (config.databaseDirectUrl !== null && config.databaseUrl === null) {
    faults.push('DATABASE_DIRECT_URL: set without DATABASE_URL; set both, or only DATABASE_URL');
  }
  faults.push(...apiContradictions(config), ...brokerContradictions(config));
  faults.push(...kafkaContradictions(config));
  return faults;
}

/** A URL fit for a log or a screen: the password, and any secret in the query, is `***`. */
export function redactUrl(url: string): string {
  return url
    .replace(/^([a-z][a-z0-9+.-]*:\/\/)?([^:/?#@]*):.*@/is, '$1$2:***@')
    .replace(/([?&][^=&#]*(?:pass|secret|token|key)[^=&#]*=)[^&#]*/gi, '$1***');
}
