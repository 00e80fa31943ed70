import type { Logger } from 'pino';
import {
  type LogAppender,
  type LogMessage,
  MESSAGE_TOO_LARGE,
  REFUSED_TOPIC,
} from '../domain/log.ts';
import { errorCode } from '../store/failure.ts';
import { encodeRefused } from './refused-record.ts';

/** Keeps what no log will ever take, so that it can be acknowledged and doesn't come again. */
export interface RefusedMessages {
  /**
   * Resolves once the log has a record in the message's place, which becomes a dead letter with the
   * beginning of its payload. Rejects as an append does.
   */
  keep(message: LogMessage, error: Error): Promise<void>;
  /** The log's appender, but one that resolves for messages which are too large for it. */
  appender: LogAppender;
}

/** Bytes of the payload; where the log doesn't take that either, less. */
const KEPT_BYTES = [65_536, 4_096, 0];
/** Of the key, as much as the table of dead letters keeps. */
const KEPT_KEY = 1_000;

export function createRefusedMessages(deps: {
  appender: LogAppender;
  logger: Pick<Logger, 'warn'>;
}): RefusedMessages {
  const { appender, logger } = deps;

  /**
   * By way of the log, as a database that is away would hold up this message's acknowledgement and,
   * as they keep their order, that of all behind it.
   */
  async function keep(message: LogMessage, error: Error): Promise<void> {
    logger.warn({ topic: message.topic, err: error }, 'the log takes no such message: dead letter');
    let refusal = error;
    for (const bytes of KEPT_BYTES) {
      try {
        return await appender.append(standIn(message, error, bytes));
      } catch (failure) {
        if (errorCode(failure) !== MESSAGE_TOO_LARGE) throw failure;
        refusal = failure as Error;
      }
    }
    throw refusal;
  }

  return {
    keep,
    appender: {
      async append(message) {
        try {
          await appender.append(message);
        } catch (error) {
          if (errorCode(error) !== MESSAGE_TOO_LARGE) throw error;
          await keep(message, error as Error);
        }
      },
    },
  };
}

function standIn({ topic, key, value }: LogMessage, error: Error, bytes: number): LogMessage {
  const payload = value.subarray(0, bytes);
  const cut = payload.length < value.length ? `; these are its first ${payload.length} bytes` : '';
  const detail = `${error.message}${cut}`;
  return {
    topic: REFUSED_TOPIC,
    key: key?.slice(0, KEPT_KEY) ?? null,
    value: encodeRefused({ topic, reason: 'TOO_LARGE', detail, payload }),
  };
}
