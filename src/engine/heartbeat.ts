import type { Logger } from 'pino';
import { HEARTBEAT_TOPIC, type LogAppender } from '../domain/log.ts';

export interface HeartbeatOptions {
  appender: LogAppender;
  /** How many partitions the log has now; a Kafka topic may grow. */
  partitions: () => number | Promise<number>;
  /**
   * Whether what devices send reaches the log. While it doesn't, their silence says nothing about
   * them, so no time must pass: no heartbeat is written. Default: always.
   */
  isFlowing?: () => boolean;
  /** Default 5,000. */
  intervalMs?: number;
  logger: Pick<Logger, 'warn'>;
}

export interface Heartbeat {
  start(): void;
  /** Resolves when no heartbeat is on its way any more; one that hangs isn't waited for. */
  close(): Promise<void>;
}

const EMPTY = new Uint8Array();
const CLOSE_WITHIN_MS = 1_000;

/**
 * Writes a record without content to every partition every few seconds. A partition's clock is the
 * arrival of its last record: with heartbeats it goes on while devices are silent.
 */
export function createHeartbeat(options: HeartbeatOptions): Heartbeat {
  const { appender, isFlowing = () => true, intervalMs = 5_000, logger } = options;
  let timer: ReturnType<typeof setInterval> | undefined;
  let beating: Promise<void> | null = null;

  async function beat(): Promise<void> {
    try {
      const partitions = await options.partitions();
      const appends = Array.from({ length: partitions }, (_, partition) =>
        appender.append({ topic: HEARTBEAT_TOPIC, key: null, value: EMPTY, partition }),
      );
      await Promise.all(appends);
    } catch (error) {
      logger.warn({ err: error }, 'no heartbeat in the log: alerts on silence wait');
    }
  }

  return {
    start() {
      timer ??= setInterval(() => {
        // A log that is slow gets one at a time: what counts is the last.
        if (beating !== null || !isFlowing()) return;
        beating = beat().finally(() => {
          beating = null;
        });
      }, intervalMs);
    },
    async close() {
      clearInterval(timer);
      if (beating !== null) await Promise.race([beating, Bun.sleep(CLOSE_WITHIN_MS)]);
    },
  };
}
