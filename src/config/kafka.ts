/** The settings of Kafka or Redpanda as the log. */
import type { Config } from '../config.ts';
import type { KafkaSettings } from '../engine/sources/kafka-client.ts';
import { brokers, integer, oneOf, pemFile, text } from './kinds.ts';
import { setting } from './setting.ts';

const anyText = text('text', /^/, 'write any text');
export const topicName = text(
  'topic name',
  /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$/,
  'use up to 249 letters, digits, ".", "_" and "-"',
);

export const KAFKA_SETTINGS = {
  kafkaBrokers: setting(
    'KAFKA_BROKERS',
    brokers,
    null,
    'Use this Kafka or Redpanda as the log, `host:port` with commas between; the embedded log is ' +
      'not started.',
  ),
  kafkaTopic: setting('KAFKA_TOPIC', topicName, 'iot-stream', 'Topic of the log.'),
  kafkaGroupId: setting(
    'KAFKA_GROUP_ID',
    text('group id', /^[\x21-\x7e]{1,255}$/, 'use up to 255 ASCII characters without spaces'),
    'pulsegraph',
    'Consumer group under which the log is read and its offsets are committed.',
  ),
  kafkaPartitions: setting(
    'KAFKA_PARTITIONS',
    integer(1, 10_000),
    '12',
    'Partitions of `KAFKA_TOPIC` where it is missing and has to be made: as many replicas can share ' +
      'the work.',
  ),
  kafkaReplication: setting(
    'KAFKA_REPLICATION',
    integer(1, 32),
    null,
    "Replicas of topics that have to be made. Unset: the cluster's default.",
  ),
  kafkaDlqTopic: setting(
    'KAFKA_DLQ_TOPIC',
    topicName,
    'iot-stream-dlq',
    'Topic that gets a copy of every dead letter while the log is Kafka.',
  ),
  kafkaSaslMechanism: setting(
    'KAFKA_SASL_MECHANISM',
    oneOf('plain', 'scram-sha-256', 'scram-sha-512'),
    null,
    'How to log in to the brokers. Unset: no login.',
  ),
  kafkaSaslUsername: setting('KAFKA_SASL_USERNAME', anyText, null, 'User at the brokers.'),
  kafkaSaslPassword: setting('KAFKA_SASL_PASSWORD', anyText, null, 'Its password.'),
  kafkaTls: setting(
    'KAFKA_TLS',
    oneOf('off', 'on', 'unverified'),
    'off',
    "Talk to the brokers by TLS. `unverified` takes anybody's certificate: for tests only.",
  ),
  kafkaTlsCa: setting(
    'KAFKA_TLS_CA',
    pemFile,
    null,
    'Certificates that the brokers are checked against, in place of the public ones.',
  ),
  kafkaTlsCert: setting(
    'KAFKA_TLS_CERT',
    pemFile,
    null,
    'Certificate shown to brokers that ask for one.',
  ),
  kafkaTlsKey: setting('KAFKA_TLS_KEY', pemFile, null, 'The key of that certificate.'),
} as const;

/** Settings of Kafka that are right one by one and wrong together. */
export function kafkaContradictions(config: Config): string[] {
  const faults: string[] = [];
  const login = [config.kafkaSaslMechanism, config.kafkaSaslUsername, config.kafkaSaslPassword];
  if (login.some((value) => value === null) && login.some((value) => value !== null)) {
    faults.push(
      'KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD: set all three, or none',
    );
  }
  const files = [config.kafkaTlsCa, config.kafkaTlsCert, config.kafkaTlsKey];
  if (config.kafkaTls === 'off' && files.some((file) => file !== null)) {
    faults.push('KAFKA_TLS: "off", and yet there are files for it; write on, or unset KAFKA_TLS_*');
  }
  if ((config.kafkaTlsCert === null) !== (config.kafkaTlsKey === null)) {
    faults.push('KAFKA_TLS_CERT, KAFKA_TLS_KEY: set both, or neither');
  }
  if (config.kafkaDlqTopic === config.kafkaTopic) {
    faults.push(`KAFKA_DLQ_TOPIC: "${config.kafkaDlqTopic}" is also KAFKA_TOPIC; give it its own`);
  }
  return faults;
}

/** How the brokers are reached; null where the log is the embedded one. */
export function kafkaSettings(config: Config): KafkaSettings | null {
  const { kafkaBrokers, kafkaSaslMechanism: mechanism, kafkaTls } = config;
  if (kafkaBrokers === null) return null;
  const { kafkaSaslUsername: username, kafkaSaslPassword: password } = config;
  return {
    brokers: kafkaBrokers,
    sasl:
      mechanism === null || username === null || password === null
        ? null
        : { mechanism, username, password },
    tls:
      kafkaTls === 'off'
        ? null
        : {
            ca: config.kafkaTlsCa,
            cert: config.kafkaTlsCert,
            key: config.kafkaTlsKey,
            verify: kafkaTls === 'on',
          },
  };
}
