import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import type { Sql } from '../store/connection.ts';
import { errorCode, failureKind } from '../store/failure.ts';
import { findRefusedRows } from '../store/find-refused-rows.ts';
import { STATEMENT_TIMEOUT_MS } from '../store/local-timeouts.ts';
import type { PartitionMaker } from '../store/partitions.ts';
import type { LogPartition, Watermark } from '../store/watermark.ts';
import type { Batch } from './batch.ts';
import type { GroupCommit } from './group-commit.ts';
import type { Refusals } from './refusals.ts';
import { backoffMs, sleep, withDeadline } from './retry.ts';
import { RewindError } from './rewind.ts';
import { createWriter } from './write.ts';

/** A writer that doesn't give up: it waits for a database that is away, and isolates bad rows. */
export interface PersistentWriter {
  /**
   * Returns when the batch is committed.
   *
   * @throws RewindError where it can't be written as it is; what is neither an outage nor a
   *   record's fault; or that it was abandoned
   */
  write(batch: Batch, watermark: Watermark): Promise<void>;
  /**
   * Runs a query on the lane's own connections, within a deadline.
   *
   * @throws what the query throws; DeadlineError, also when abandoned
   */
  query<T>(what: string, work: (sql: Sql) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Above the server's own timeout: past it the connection is taken for dead. */
const DEADLINE_MS = 2 * STATEMENT_TIMEOUT_MS;

export function createPersistentWriter(
  deps: {
    openSql: () => Sql;
    group: GroupCommit;
    model: Model;
    partitions: PartitionMaker;
    logger: Logger;
  },
  options: {
    log: LogPartition;
    smallRows?: number | undefined;
    refusals: Refusals;
    abandon: AbortSignal;
    /** Told why it waits, and null when it no longer does. */
    onWaiting: (problem: string | null) => void;
  },
): PersistentWriter {
  const { group, model, partitions, logger } = deps;
  const { log, smallRows, refusals } = options;
  let sql = deps.openSql();
  let writer = newWriter();
  let partitionWasMissing = false;

  function newWriter() {
    return createWriter({ sql, group, model, partitions }, { log, smallRows });
  }

  /**
   * The batch may still be committed behind our back, a small one surely, as it ends with its own
   * COMMIT; the fence of the next try tells.
   */
  function replaceConnections(): void {
    sql.end({ timeout: 0 }).catch(() => {});
    sql = deps.openSql();
    writer = newWriter();
  }

  async function inTime<T>(what: string, work: Promise<T>): Promise<T> {
    try {
      return await withDeadline(work, DEADLINE_MS, what, options.abandon);
    } catch (error) {
      if (errorCode(error) === 'DEADLINE') replaceConnections();
      throw error;
    }
  }

  async function write(batch: Batch, watermark: Watermark): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const fromMs = performance.now();
      try {
        const events = await inTime('writing a batch', writer.write(batch, watermark));
        batch.written = { fromMs, toMs: performance.now(), events };
        partitionWasMissing = false;
        if (attempt > 0) options.onWaiting(null);
        return;
      } catch (error) {
        if (failureKind(error) === 'outage') await waitOut(error as Error, attempt);
        else if (failureKind(error) === 'row') await isolate(batch, error as Error);
        else throw error;
      }
    }
  }

  async function waitOut(error: Error, attempt: number): Promise<void> {
    if (options.abandon.aborted) throw error;
    options.onWaiting(error.message);
    if (attempt % 10 === 0) logger.warn({ err: error, attempt }, 'waiting for the database');
    await sleep(backoffMs(attempt), options.abandon);
  }

  /** Finds whose fault a refusal is. Returns where it is nobody's, and may be tried again. */
  async function isolate(batch: Batch, error: Error): Promise<void> {
    if (isMissingPartition(error) && !partitionWasMissing) {
      partitionWasMissing = true;
      partitions.forget();
      return;
    }
    const search = findRefusedRows(sql, model, batch.readings);
    const rows = await inTime('looking for the rows at fault', search);
    if (rows.length === 0) throw refusals.blame(batch, error);
    for (const { row, detail } of rows) refusals.add(row.offset, detail);
    throw new RewindError('refused', `${rows.length} rows are dead-lettered: ${error.message}`);
  }

  return {
    write,
    query: (what, work) => inTime(what, work(sql)),
    // Nothing waits on them any more, or nobody wants it: a server that hangs must not hold us up.
    close: () => sql.end({ timeout: 0 }),
  };
}

/** check_violation names a constraint; a row without a partition has the same code and none. */
function isMissingPartition(error: Error): boolean {
  return errorCode(error) === '23514' && !(error as { constraint_name?: string }).constraint_name;
}
