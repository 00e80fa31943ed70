import type { Aedes, Client } from 'aedes';
import type { Logger } from 'pino';
import { createSparingLog } from './sparing-log.ts';
import type { BrokerPacket } from './stored-packet.ts';

const LOG_EVERY_MS = 10_000;
const FAILURE_EVERY_MS = 1_000;

interface Failure {
  client: Client | null;
  packet: BrokerPacket;
  error: unknown;
}

export type BrokerLog = ReturnType<typeof createBrokerLog>;

/** Every line the broker writes. What a client can cause over and over is written sparingly. */
export function createBrokerLog(logger: Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>) {
  const aboutClient = (message: string) =>
    createSparingLog<string>(LOG_EVERY_MS, (clientId, leftOut) =>
      logger.warn({ clientId, leftOut }, message),
    );
  return {
    dropped: aboutClient('an MQTT session’s queue is full: its oldest message was dropped'),
    skipped: aboutClient('an MQTT subscriber is too slow: QoS 0 messages to it are left out'),
    refusedMqtt5: aboutClient(
      'refused an MQTT 5 client: set protocolVersion 4 / use MQTT 3.1.1, or set MQTT_URL to a ' +
        'broker that speaks MQTT 5',
    ),
    limited: createSparingLog<{ clientId: string; reason: string }>(
      LOG_EVERY_MS,
      (detail, leftOut) =>
        logger.warn(
          { ...detail, leftOut },
          'an MQTT client was refused something: it is over a limit',
        ),
    ),
    appendFailed: createSparingLog<Failure>(
      FAILURE_EVERY_MS,
      ({ client, packet, error }, leftOut) =>
        logger.error(
          { clientId: client?.id, topic: packet.topic, leftOut, err: error },
          'an MQTT message could not be made durable: not acknowledged, its connection is closed',
        ),
    ),
    writeFailed: createSparingLog<unknown>(FAILURE_EVERY_MS, (error, leftOut) =>
      logger.error({ err: error, leftOut }, 'MQTT sessions could not be written'),
    ),
    expired(sessions: number): void {
      if (sessions > 0) logger.info({ sessions }, 'forgot MQTT sessions that stayed away too long');
    },
    follow(aedes: Aedes): void {
      aedes.on('clientError', (client, error) => {
        // Before its login was right, what it calls itself may be a password in the wrong place.
        const isLogin = 'returnCode' in error;
        const clientId = isLogin ? undefined : client.id;
        logger.debug({ clientId, err: error }, 'MQTT connection ended by an error');
      });
      aedes.on('connectionError', (_client, error) =>
        logger.debug({ err: error }, 'MQTT connection ended before CONNECT was done'),
      );
      (aedes as NodeJS.EventEmitter).on('error', (error: unknown) =>
        logger.error({ err: error }, 'MQTT broker'),
      );
    },
  };
}
