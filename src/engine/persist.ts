import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import type { Sql } from '../store/connection.ts';
import { errorCode, failureKind } from '../store/failure.ts';
import { findRefusedRows } from '../store/find-refused-rows.ts';
import type { PartitionMaker } from '../store/partitions.ts';
import type { LogPartition, Watermark } from '../store/watermark.ts';
import type { Batch } from './batch.ts';
import { backoffMs, sleep, withDeadline } from './retry.ts';
import { createWriter, movedBy, type Rewind as WriteRewind } from './write.ts';

/** Why a batch can't be written as it is. */
export type Rewind =
  | WriteRewind
  /** The database refuses rows, now noted in `refused`: they become dead letters. */
  | { kind: 'refused'; detail: string };

export type PersistResult = { ok: true; watermark: Watermark } | { ok: false; rewind: Rewind };

/** A writer that doesn't give up: it waits for a database that is away, and isolates bad rows. */
export interface PersistentWriter {
  /** @throws what is neither an outage nor a row's fault; or that it was abandoned */
  write(batch: Batch, watermark: Watermark): Promise<PersistResult>;
  /**
   * Runs a query on the lane's own connections, within a deadline.
   *
   * @throws what the query throws; DeadlineError, also when abandoned
   */
  query<T>(what: string, work: (sql: Sql) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const STATEMENT_TIMEOUT_MS = 15_000;
/** Above the server's own timeout: past it the connection is taken for dead. */
const DEADLINE_MS = 30_000;

export function createPersistentWriter(
  deps: { openSql: () => Sql; model: Model; partitions: PartitionMaker; logger: Logger },
  options: {
    log: LogPartition;
    refused: Map<number, string>;
    abandon: AbortSignal;
    /** Told why it waits, and null when it no longer does. */
    onWaiting: (problem: string | null) => void;
  },
): PersistentWriter {
  const { model, partitions, logger } = deps;
  const { log } = options;
  let sql = deps.openSql();
  let writer = newWriter();
  let partitionWasMissing = false;

  function newWriter() {
    return createWriter(
      { sql, model, partitions },
      { log, statementTimeoutMs: STATEMENT_TIMEOUT_MS },
    );
  }

  /** The batch may still be committed behind our back; the fence of the next try tells. */
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

  async function write(batch: Batch, watermark: Watermark): Promise<PersistResult> {
    for (let attempt = 0; ; attempt++) {
      try {
        const result = await inTime('writing a batch', writer.write(batch, watermark));
        if (attempt > 0) options.onWaiting(null);
        if (!result.ok) return result;
        partitionWasMissing = false;
        return { ok: true, watermark: movedBy(watermark, batch) };
      } catch (error) {
        const kind = failureKind(error);
        if (kind === 'bug') throw error;
        if (kind === 'row') {
          const rewind = await isolate(batch, error as Error);
          if (rewind !== null) return { ok: false, rewind };
          continue;
        }
        await waitOut(error as Error, attempt);
      }
    }
  }

  async function waitOut(error: Error, attempt: number): Promise<void> {
    if (options.abandon.aborted) throw error;
    options.onWaiting(error.message);
    if (attempt % 10 === 0) logger.warn({ err: error, attempt }, 'waiting for the database');
    await sleep(backoffMs(attempt), options.abandon);
  }

  /** Finds whose fault a refusal is. Null: nobody's, and it may be tried again. */
  async function isolate(batch: Batch, error: Error): Promise<Rewind | null> {
    if (isMissingPartition(error) && !partitionWasMissing) {
      partitionWasMissing = true;
      partitions.forget();
      return null;
    }
    const search = findRefusedRows(sql, model, batch.readings);
    const rows = await inTime('looking for the rows at fault', search);
    if (rows.length === 0)
      throw new Error(`no row is at fault: ${error.message}`, { cause: error });
    for (const { row, detail } of rows) options.refused.set(row.offset, detail);
    logger.warn({ rows: rows.length, err: error }, 'the database refuses rows: dead-lettered');
    return { kind: 'refused', detail: `${rows.length} rows refused: ${error.message}` };
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
