import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import type { Issue } from '../domain/rule.ts';
import type { Sql } from '../store/connection.ts';
import { failureKind } from '../store/failure.ts';
import type { PublishPort } from './publish-port.ts';
import { backoffMs, sleep } from './retry.ts';

/** What the handlers of messages that change something have in common. */
export interface Consuming {
  sql: Sql;
  /** Another connection than the one that the messages come by, whose answers they hold up. */
  mqtt: PublishPort;
  model: Model;
  /** Called when rules were changed. */
  onChanged: (userId: string) => void;
  logger: Pick<Logger, 'warn' | 'error' | 'info'>;
  signal: AbortSignal;
  patienceMs?: number;
}

/** A message as it came. */
export interface Incoming {
  topic: string;
  payload: Uint8Array;
  /** It was there before the subscription. */
  retain?: boolean;
}

/**
 * Handles a message. An error of its own is logged, and it counts as handled: sent again it would
 * fail again, and hold up every other behind it.
 *
 * @throws the signal's reason on abort; the message comes again
 */
export async function handleOnce(
  { signal, logger }: Consuming,
  userId: string,
  handle: () => Promise<void>,
): Promise<void> {
  try {
    await handle();
  } catch (error) {
    signal.throwIfAborted();
    logger.error({ err: error, user: userId }, 'an MQTT message failed: it is left out');
  }
}

/**
 * Waits out an outage of the database.
 *
 * @throws Error when the signal aborts, and what is no outage
 */
export async function patiently<T>(
  { signal, logger }: Consuming,
  attemptIt: () => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await attemptIt();
    } catch (error) {
      if (failureKind(error) !== 'outage') throw error;
      if (attempt === 0) logger.warn({ err: error }, 'an MQTT message waits for the database');
      await sleep(backoffMs(attempt), signal);
    }
  }
}

/**
 * As `patiently`; what the database refuses for good is a fault of the message.
 *
 * @throws Error when the signal aborts
 */
export async function patientlyOrRefused<T>(
  work: Consuming,
  userId: string,
  attemptIt: () => Promise<T>,
): Promise<T | { kind: 'invalid'; issues: Issue[] }> {
  return await patiently(work, async () => {
    try {
      return await attemptIt();
    } catch (error) {
      if (failureKind(error) === 'outage') throw error;
      work.logger.error({ err: error, user: userId }, 'an MQTT message could not be taken over');
      const message = `could not be taken over: ${(error as Error).message}`;
      return { kind: 'invalid', issues: [{ path: '', message }] };
    }
  });
}
