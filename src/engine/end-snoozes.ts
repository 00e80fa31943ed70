import type { Logger } from 'pino';
import type { Sql } from '../store/connection.ts';
import { dueSnoozes, endSnooze } from '../store/end-snoozes.ts';
import { keepTrying } from './publish-port.ts';
import { sleep } from './retry.ts';

export interface SnoozeEnding {
  sql: Sql;
  logger: Pick<Logger, 'warn' | 'error'>;
  signal: AbortSignal;
  pollIntervalMs?: number;
}

const PAGE = 100;

/**
 * Ends the snoozes whose time is over, which reminds of what is firing still. Whether two do this at
 * a time or one is killed at it: each ends once, see `endSnooze`. Ends on abort.
 */
export async function endSnoozes(work: SnoozeEnding): Promise<void> {
  const { sql, logger, signal, pollIntervalMs = 1_000 } = work;
  while (!signal.aborted) {
    const due = (await keepTrying(() => dueSnoozes(sql, PAGE), work)) ?? [];
    let ended = 0;
    for (const rule of due) {
      if (signal.aborted) return;
      try {
        if (await endSnooze(sql, rule)) ended++;
      } catch (error) {
        // The next round has it again; the others need not wait for it.
        logger.warn({ err: error, ...rule }, 'the end of a snooze waits');
      }
    }
    if (ended < PAGE) await sleep(pollIntervalMs, signal);
  }
}
