import type { Logger } from 'pino';
import { MESSAGE_TOO_LARGE } from '../../domain/log.ts';
import { formatMicros, MICROS_PER_MS } from '../../domain/time.ts';
import type { Sql } from '../../store/connection.ts';
import {
  markDeadLettersPublished,
  type UnpublishedDeadLetter,
  unpublishedDeadLetters,
} from '../../store/unpublished-dead-letters.ts';
import { backoffMs, sleep, withDeadline } from '../retry.ts';
import type { KafkaAppender } from './kafka-appender.ts';

/** Copies dead letters into their topic, for whoever watches that. */
export interface DeadLetterSender {
  /** Of this partition there are new ones, committed. */
  poke(partition: number): void;
  /** Copied since the start. */
  sent(): number;
  close(): Promise<void>;
}

export interface DeadLetterSenderOptions {
  sql: Sql;
  /** Into the topic of dead letters. Stays open: it is the caller's. */
  appender: Pick<KafkaAppender, 'append' | 'health'>;
  logId: string;
  /** The topic of the log. */
  logTopic: string;
  logger: Logger;
  /** How often to look for what others left. Default 30 s. */
  sweepIntervalMs?: number;
  /** How old it must be, so that whoever wrote it had the time. Default 1 min. */
  sweepAgeMs?: number;
}

const PAGE = 100;
const SEND_DEADLINE_MS = 15_000;

/**
 * The table of dead letters is the queue: a row is marked when the brokers have the copy, so no
 * lane waits for the topic, nothing is held in memory, and what a dead replica or an absent broker
 * left is sent by whoever sweeps next. At least once, in the order of each partition.
 *
 * A copy has the original bytes and key; its headers say topic, reason, detail, partition, offset
 * and arrival time.
 */
export function createDeadLetterSender(options: DeadLetterSenderOptions): DeadLetterSender {
  const { sql, appender, logId, logTopic, logger } = options;
  const { sweepIntervalMs = 30_000, sweepAgeMs = 60_000 } = options;
  const closing = new AbortController();
  const poked = new Set<number>();
  let sweepDueMs = 0;
  let wake: (() => void) | null = null;
  let sent = 0;
  const running = run();

  async function run(): Promise<void> {
    for (let attempt = 0; !closing.signal.aborted; ) {
      try {
        await sendAll();
        attempt = 0;
        await untilPoked();
      } catch (error) {
        if (closing.signal.aborted) return;
        if (attempt % 10 === 0) logger.warn({ err: error }, 'dead letters wait for their topic');
        await sleep(backoffMs(attempt++), closing.signal);
      }
    }
  }

  async function sendAll(): Promise<void> {
    for (const partition of [...poked]) {
      poked.delete(partition);
      try {
        await drain(partition, null);
      } catch (error) {
        poked.add(partition);
        throw error;
      }
    }
    const now = performance.now();
    if (now < sweepDueMs) return;
    await drain(null, (Date.now() - sweepAgeMs) * MICROS_PER_MS);
    sweepDueMs = now + sweepIntervalMs;
  }

  async function drain(partition: number | null, before: number | null): Promise<void> {
    while (!closing.signal.aborted) {
      const page = { logId, logTopic, partition, before, limit: PAGE };
      const letters = await unpublishedDeadLetters(sql, page);
      if (letters.length === 0) return;
      // What an absent broker did not take is still queued there: more of it would only pile up.
      const health = appender.health();
      if (!health.ok) throw new Error(health.reason);
      const copies = Promise.all(letters.map(copy));
      await withDeadline(copies, SEND_DEADLINE_MS, 'sending dead letters', closing.signal);
      await markDeadLettersPublished(
        sql,
        letters.map(({ id }) => id),
      );
      sent += letters.length;
      if (letters.length < PAGE) return;
    }
  }

  async function copy(letter: UnpublishedDeadLetter): Promise<void> {
    const { partition, offset, key, topic, reason, detail, payload, arrivalTime } = letter;
    const headers = {
      reason,
      detail,
      partition: String(partition),
      offset: String(offset),
      arrival_time: formatMicros(arrivalTime),
    };
    try {
      await appender.append({ topic: topic ?? '', key, value: payload, headers });
    } catch (error) {
      if ((error as { code?: unknown }).code !== MESSAGE_TOO_LARGE) throw error;
      const where = { partition, offset, err: error };
      logger.warn(where, 'a dead letter is too large for its topic: it is in the table alone');
    }
  }

  function untilPoked(): Promise<void> {
    if (poked.size > 0 || closing.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        wake = null;
        resolve();
      };
      const timer = setTimeout(done, Math.max(0, sweepDueMs - performance.now()));
      wake = done;
    });
  }

  return {
    poke(partition) {
      poked.add(partition);
      wake?.();
    },
    sent: () => sent,
    async close() {
      closing.abort();
      wake?.();
      await running;
    },
  };
}
