import { setTimeout as sleep } from 'node:timers/promises';
import type { Admin } from 'kafkajs';
import type { Logger } from 'pino';
import { StartError } from '../../domain/start-error.ts';
import { createKafkaClient, type KafkaSettings } from './kafka-client.ts';

export interface TopicSettings {
  topic: string;
  /** Used when the topic is missing; one that exists stays as it is. */
  partitions: number;
  /** Null: what the cluster has as its default. */
  replication: number | null;
}

/** What was found at the start. */
export interface KafkaCluster {
  /** Names the log in Postgres: watermarks of another cluster don't count here. */
  clusterId: string;
  /** Topics that were made. */
  created: string[];
}

const START_RETRIES = 4;
const APPEARS_WITHIN_MS = 10_000;
const ABSENT = new Set([
  'UNKNOWN_TOPIC_OR_PARTITION',
  'TOPIC_AUTHORIZATION_FAILED',
  'LEADER_NOT_AVAILABLE',
]);
/** The arrival in the log is the log's to say, whatever clock a producer has. */
const LOG_CONFIG = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }];

/**
 * Reaches the cluster once and makes the topics that are missing.
 *
 * @throws StartError that says in one line what to do
 */
export async function prepareKafka(
  settings: KafkaSettings,
  topics: readonly TopicSettings[],
  logger: Logger,
): Promise<KafkaCluster> {
  const admin = createKafkaClient(settings, logger, { retries: START_RETRIES }).admin();
  try {
    await admin.connect();
    const { clusterId } = await admin.describeCluster();
    const created: string[] = [];
    for (const wanted of topics) if (await ensureTopic(admin, wanted)) created.push(wanted.topic);
    return { clusterId, created };
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError('KAFKA_UNAVAILABLE', explain(error as KafkaFault, settings), {
      cause: error,
    });
  } finally {
    await admin.disconnect().catch(() => {});
  }
}

/** @returns whether it was made */
async function ensureTopic(admin: Admin, wanted: TopicSettings): Promise<boolean> {
  const { topic, partitions, replication } = wanted;
  if (await isThere(admin, topic)) return false;
  let created: boolean;
  try {
    created = await admin.createTopics({
      // kafkajs' own wait fails where the brokers don't know the topic yet.
      waitForLeaders: false,
      topics: [
        {
          topic,
          numPartitions: partitions,
          replicationFactor: replication ?? -1,
          configEntries: LOG_CONFIG,
        },
      ],
    });
  } catch (error) {
    throw new StartError('KAFKA_UNUSABLE', explainTopic(deepest(error as KafkaFault), wanted), {
      cause: error,
    });
  }
  // Whoever has made it: brokers hear of it a moment later.
  const deadline = performance.now() + APPEARS_WITHIN_MS;
  while (!(await isThere(admin, topic)) && performance.now() < deadline) await sleep(50);
  return created;
}

async function isThere(admin: Admin, topic: string): Promise<boolean> {
  try {
    await admin.fetchTopicMetadata({ topics: [topic] });
    return true;
  } catch (error) {
    const { type } = error as KafkaFault;
    // Who may not look at a topic is told the same of one that is missing.
    if (ABSENT.has(type ?? '')) return false;
    throw error;
  }
}

function explainTopic(fault: KafkaFault, { topic, partitions, replication }: TopicSettings) {
  if (/AUTHORIZATION_FAILED$/.test(fault.type ?? '')) {
    return (
      `the Kafka topic ${topic} is missing or hidden, and this user may not create it: ` +
      `create it with ${partitions} partitions, or grant Describe and Create on it`
    );
  }
  if (fault.type === 'INVALID_REPLICATION_FACTOR') {
    return (
      `KAFKA_REPLICATION: the topic ${topic} can't have ${replication} replicas ` +
      `(${fault.message}): write at most the number of brokers`
    );
  }
  return `the Kafka topic ${topic} can't be created: ${fault.message}; create it by hand`;
}

/** Of a consumer that this user may not be: no later attempt gets further. */
export function refusalOf(
  error: KafkaFault,
  { topic, groupId }: { topic: string; groupId: string },
): StartError | null {
  const { type, message } = deepest(error);
  const [what, rights] =
    type === 'GROUP_AUTHORIZATION_FAILED'
      ? [`KAFKA_GROUP_ID: the group ${groupId}`, 'Read on it']
      : [`KAFKA_TOPIC: the topic ${topic}`, 'Read and Describe on it'];
  if (!/^(GROUP|TOPIC)_AUTHORIZATION_FAILED$/.test(type ?? '')) return null;
  const text = `${what} is refused to this Kafka user (${message}): grant ${rights}`;
  return new StartError('KAFKA_UNUSABLE', text, { cause: error });
}

/** What kafkajs throws: the reason is often deeper in the chain of causes. */
export interface KafkaFault extends Error {
  /** The protocol's name of the error. */
  type?: string;
  /** A system error, as of a socket. */
  code?: string | number;
  /** `host:port` */
  broker?: string;
}

function deepest(error: KafkaFault): KafkaFault {
  const { errors } = error as { errors?: KafkaFault[] };
  const inner = errors?.[0] ?? (error.cause as KafkaFault | undefined);
  return inner === undefined || inner === error ? error : deepest(inner);
}

function explain(error: KafkaFault, settings: KafkaSettings): string {
  const fault = deepest(error);
  const brokers = settings.brokers.join(',');
  const { sasl, tls } = settings;
  const at = `KAFKA_BROKERS ${fault.broker ?? brokers}`;
  if (fault.name === 'KafkaJSSASLAuthenticationError') {
    return (
      `KAFKA_SASL_USERNAME: ${brokers} refuses "${sasl?.username}" (${fault.message}): ` +
      'check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD'
    );
  }
  if (fault.type === 'ILLEGAL_SASL_STATE' || fault.type === 'UNSUPPORTED_SASL_MECHANISM') {
    return (
      `KAFKA_SASL_MECHANISM: ${brokers} takes no ${sasl?.mechanism} on this port ` +
      `(${fault.message}): name the port of its SASL listener, or unset KAFKA_SASL_MECHANISM`
    );
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS/.test(String(fault.code))) {
    return (
      `${at} shows a certificate that is not trusted (${bare(fault)}): set KAFKA_TLS_CA to the ` +
      'PEM file of who signed it'
    );
  }
  if (fault.broker !== undefined && !settings.brokers.includes(fault.broker)) {
    return (
      `Kafka at ${brokers} sends its clients to ${fault.broker}, which can't be reached ` +
      `(${bare(fault)}): set advertised.listeners of that broker to an address that can`
    );
  }
  if (tls && /before secure TLS|wrong version|EPROTO/i.test(`${fault.code} ${fault.message}`)) {
    return `${at} speaks no TLS on this port (${bare(fault)}): name its TLS port, or unset KAFKA_TLS`;
  }
  if (fault.name === 'KafkaJSConnectionClosedError') {
    const wants = [tls ? null : 'TLS (KAFKA_TLS)', sasl ? null : 'a login (KAFKA_SASL_MECHANISM)'];
    const wanted = wants.filter((want) => want !== null).join(' or ');
    return `${at} closes the connection: ${wanted ? `it may want ${wanted}` : 'see its own log'}`;
  }
  return `${at} can't be reached (${bare(fault)}): start the broker, or correct the address`;
}

/** Without kafkajs' own prefix. */
function bare({ message }: KafkaFault): string {
  return message.replace(/^Connection error: /, '');
}
