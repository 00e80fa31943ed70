import './kafkajs-patch.ts';
import { Kafka, type LogEntry, logLevel, type RetryOptions, type SASLOptions } from 'kafkajs';
import type { Logger } from 'pino';

export type SaslMechanism = 'plain' | 'scram-sha-256' | 'scram-sha-512';

/** How the brokers are reached. */
export interface KafkaSettings {
  /** `host:port` of one broker or more. */
  brokers: string[];
  clientId?: string;
  sasl?: { mechanism: SaslMechanism; username: string; password: string } | null;
  /** Null: a plain connection. */
  tls?: KafkaTls | null;
}

export interface KafkaTls {
  /** PEM text: who signs the brokers' certificates (else the system's), and our own certificate. */
  ca?: string | null;
  cert?: string | null;
  key?: string | null;
  /** False takes any certificate, and anybody's. */
  verify: boolean;
}

/**
 * For every client: about 10 s, in steps short enough that nobody waits long for a broker that is
 * back. Whoever has to wait longer does so in a loop of its own.
 */
const RETRY: RetryOptions = {
  initialRetryTime: 100,
  maxRetryTime: 1_000,
  retries: 12,
  // Our own loop builds a new consumer: one way back in place of two.
  restartOnFailure: async () => false,
};
/** A broker that says nothing for so long is taken for dead. */
const REQUEST_TIMEOUT_MS = 15_000;
const CONNECTION_TIMEOUT_MS = 3_000;

/** @param options.retries where the default (some 10 s) is too many */
export function createKafkaClient(
  settings: KafkaSettings,
  logger: Logger,
  options: { retries?: number } = {},
): Kafka {
  const { sasl } = settings;
  return new Kafka({
    clientId: settings.clientId ?? 'pulsegraph',
    brokers: settings.brokers,
    ...(settings.tls ? { ssl: tlsOptions(settings.tls) } : {}),
    ...(sasl ? { sasl: { ...sasl } as SASLOptions } : {}),
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    authenticationTimeout: 10_000,
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry: { ...RETRY, ...options },
    logLevel: logLevel.WARN,
    logCreator: () => logTo(logger.child({ part: 'kafkajs' })),
  });
}

function tlsOptions({ ca, cert, key, verify }: KafkaTls) {
  return {
    rejectUnauthorized: verify,
    ...(ca ? { ca } : {}),
    ...(cert ? { cert } : {}),
    ...(key ? { key } : {}),
  };
}

/**
 * kafkajs calls every passing trouble an error and tells it at each attempt. What lasts is said by
 * us: by the source, by the appender, and by a lane that waits.
 */
function logTo(logger: Logger): (entry: LogEntry) => void {
  return ({ namespace, log }) => {
    const { message, timestamp: _, logger: __, stack: ___, ...details } = log;
    logger.debug(details, `${namespace}: ${message}`);
  };
}
