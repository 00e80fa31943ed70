import type { Logger } from 'pino';
import { type LogRecord, LogUnavailable, type PartitionReader } from '../domain/log.ts';
import { MICROS_PER_MS } from '../domain/time.ts';
import type { TransactionSql } from '../store/connection.ts';
import { setLocalTimeouts } from '../store/local-timeouts.ts';
import {
  type LogPartition,
  lockWatermark,
  moveWatermark,
  type Watermark,
} from '../store/watermark.ts';
import type { Batch } from './batch.ts';
import type { PersistentWriter } from './persist.ts';
import { startOffset } from './start-offset.ts';
import type { IngestCounters } from './status.ts';
import { movedBy } from './write.ts';

/** Where a lane stands in its partition. */
export interface Position {
  readonly watermark: Watermark;
  /**
   * Takes the partition up where its watermark stands in the database, and seeks there: at first at
   * the group's position if that is lower; afterwards a replay goes on where it was.
   *
   * @throws LogUnavailable, or what the database throws
   */
  takeUp(): Promise<void>;
  /** Has the next take-up be as the first one: it may be another log by then. */
  forget(): void;
  /** A batch was committed. */
  moveBehind(batch: Batch): void;
  /** Whether a record at or below the watermark is newer than all that it covers. */
  isOfNewLog(record: LogRecord): boolean;
  /** Has the watermark begin anew behind the last batch, as what follows is of another log. */
  startOver(why: string): Promise<void>;
}

const PROBE_WAIT_MS = 1_000;
/** A broker that takes longer for one record is away. */
const PROBE_DEADLINE_MS = 30_000;

export function createPosition(
  deps: {
    reader: PartitionReader;
    writer: Pick<PersistentWriter, 'query'>;
    counters: IngestCounters;
    logger: Logger;
  },
  options: { log: LogPartition; onReset: () => void },
): Position {
  const { reader, writer, counters, logger } = deps;
  const { log } = options;
  let watermark: Watermark = { offset: -1, coveredAt: 0, flowingSince: 0 };
  /** Every record up to it was written by this lane, or before it began: below the watermark during a replay. */
  let handled = -1;
  let known = false;

  async function takeUp(): Promise<void> {
    const replaying = handled < watermark.offset;
    watermark = await inTransaction('reading the watermark', (tx) => lockWatermark(tx, log));
    const range = await reader.range();
    const resumed = replaying ? handled + 1 : null;
    const wanted = known ? resumed : await reader.committed();
    let { start, gap, newLog } = startOffset(watermark, wanted, range);
    if (newLog || (!known && (await isNewerAtWatermark(range)))) {
      await reset(range.earliest - 1, `it has ${range.earliest} to ${range.end - 1}`);
      start = range.earliest;
      gap = 0;
    }
    if (gap > 0) {
      counters.gaps++;
      logger.error({ gap, start }, 'records above the watermark are no longer in the log');
    }
    // What a lost answer to COMMIT has left out; a no-op nearly always.
    if (known && start > 0) await reader.commit(start);
    known = true;
    handled = start - 1;
    reader.seek(start);
  }

  /**
   * Reading might begin behind the record at the watermark, and then nobody would look at it. That
   * none came says nothing, unless the reader is past it: a marker or a compacted record was there.
   *
   * @throws LogUnavailable
   */
  async function isNewerAtWatermark(range: { earliest: number; end: number }): Promise<boolean> {
    if (watermark.offset < range.earliest || watermark.offset >= range.end) return false;
    reader.seek(watermark.offset);
    const deadline = performance.now() + PROBE_DEADLINE_MS;
    while (!reader.signal.aborted && reader.position() <= watermark.offset) {
      const [record] = await reader.read(1, PROBE_WAIT_MS);
      if (record !== undefined) return isOfNewLog(record);
      if (performance.now() > deadline) {
        throw new LogUnavailable(`the record at the watermark, ${watermark.offset}, does not come`);
      }
    }
    return false;
  }

  function isOfNewLog({ offset, arrivalMs }: LogRecord): boolean {
    return offset <= watermark.offset && arrivalMs * MICROS_PER_MS > watermark.coveredAt;
  }

  async function inTransaction<T>(
    what: string,
    work: (tx: TransactionSql) => Promise<T>,
  ): Promise<T> {
    const whole = async (tx: unknown) => {
      await setLocalTimeouts(tx as TransactionSql);
      return await work(tx as TransactionSql);
    };
    return await writer.query(what, (sql) => sql.begin(whole) as Promise<T>);
  }

  async function reset(offset: number, why: string): Promise<void> {
    logger.warn(`a new log under the old name (${why}): watermark ${watermark.offset} is reset`);
    const next = { offset, coveredAt: 0, flowingSince: 0 };
    await inTransaction('resetting the watermark', async (tx) => {
      await lockWatermark(tx, log);
      await moveWatermark(tx, log, next);
    });
    watermark = next;
    options.onReset();
  }

  return {
    get watermark() {
      return watermark;
    },
    takeUp,
    forget() {
      known = false;
    },
    moveBehind(batch) {
      watermark = movedBy(watermark, batch);
      if (batch.lastOffset >= 0) handled = batch.lastOffset;
    },
    isOfNewLog,
    startOver: (why) => reset(handled, why),
  };
}
