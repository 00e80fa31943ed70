import type { Logger } from 'pino';
import { type LogAppender, type LogMessage, MESSAGE_TOO_LARGE } from '../domain/log.ts';
import { MICROS_PER_MS } from '../domain/time.ts';
import type { Sql } from '../store/connection.ts';
import { errorCode, failureKind } from '../store/failure.ts';
import { writeDeadLetters } from '../store/write-dead-letters.ts';
import { backoffMs, sleep } from './retry.ts';

/** Keeps what no log will ever take, so that it can be acknowledged and doesn't come again. */
export interface RefusedMessages {
  /** Resolves once the dead letter is stored; waits for a database that is away. */
  keep(message: LogMessage, error: Error): Promise<void>;
  /** The same appender, but one that resolves for messages which are too large for the log. */
  guard(appender: LogAppender): LogAppender;
  close(): void;
}

/** Not a log: these letters were written before any. Their offset only tells them apart. */
const NO_PARTITION = -1;

export function createRefusedMessages(deps: {
  sql: Sql;
  topic: string;
  logger: Pick<Logger, 'warn'>;
}): RefusedMessages {
  const { sql, topic, logger } = deps;
  const log = { logId: `door:${crypto.randomUUID()}`, topic, partition: NO_PARTITION };
  const closing = new AbortController();
  let next = 0;

  async function keep(message: LogMessage, error: Error): Promise<void> {
    const letter = {
      offset: next++,
      topic: message.topic,
      key: message.key,
      reason: 'TOO_LARGE' as const,
      detail: error.message,
      payload: message.value,
      arrival: Date.now() * MICROS_PER_MS,
    };
    logger.warn({ topic: message.topic, err: error }, 'the log takes no such message: dead letter');
    for (let attempt = 0; ; attempt++) {
      try {
        return await sql.begin((tx) => writeDeadLetters(tx as never, log, [letter]));
      } catch (failure) {
        if (failureKind(failure) !== 'outage' || closing.signal.aborted) throw failure;
        await sleep(backoffMs(attempt), closing.signal);
      }
    }
  }

  function guard(appender: LogAppender): LogAppender {
    return {
      async append(message) {
        try {
          await appender.append(message);
        } catch (error) {
          if (errorCode(error) !== MESSAGE_TOO_LARGE) throw error;
          await keep(message, error as Error);
        }
      },
    };
  }

  return { keep, guard, close: () => closing.abort() };
}
