import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { AlertEvent } from '../domain/alert.ts';
import type { Model } from '../domain/model.ts';
import type { Sql } from '../store/connection.ts';
import { failureKind } from '../store/failure.ts';
import { type PointTypes, readPointTypes } from '../store/point-columns.ts';
import { type Patience, type SmallBatch, writeAtOnce } from '../store/write-at-once.ts';

/**
 * Small batches of several lanes in one transaction: while one is being written, those that come
 * gather for the next. The busier the database, the fewer and larger its transactions, and none
 * waits for another's lock of `seq`.
 */
export interface GroupCommit {
  /**
   * @returns the batch's events, committed; null where it is to be written alone, by who has it.
   *   It may be committed all the same, as the fence tells then
   */
  write(batch: SmallBatch): Promise<AlertEvent[] | null>;
  close(): Promise<void>;
}

interface Waiting {
  batch: SmallBatch;
  resolve: (events: AlertEvent[] | null) => void;
}

/** Short: what holds up one batch holds up all that are written with it. */
const PATIENCE: Patience = { statementMs: 3_000, lockMs: 500, rulesMs: 100 };
/** After an outage each goes alone for so long, doubled with each further one: a try may take 5 s. */
const REST_MS = 1_000;
const MAX_DOUBLINGS = 5;
/** A group ends with the batch that brings it there. */
const MAX_READINGS = 1_000;

/** @param openSql opens a single connection, one that is given up where no answer comes */
export function createGroupCommit(deps: {
  openSql: () => Sql;
  model: Model;
  logger: Pick<Logger, 'warn'>;
}): GroupCommit {
  const { model, logger } = deps;
  const sql = deps.openSql();
  let points = undefined as PointTypes | undefined;
  const waiting: Waiting[] = [];
  let isWriting = false;
  let restsUntil = 0;
  /** In a row. */
  let failures = 0;
  let closed = false;

  async function writeAll(): Promise<void> {
    isWriting = true;
    // Lanes that were woken together are about to come, as are those of the group before.
    for (await setImmediate(); waiting.length > 0; await setImmediate()) {
      const group = nextGroup();
      const events = await commit(group.map(({ batch }) => batch));
      for (const { batch, resolve } of group) resolve(events && eventsOf(batch, events));
    }
    isWriting = false;
  }

  function nextGroup(): Waiting[] {
    let count = 0;
    for (let readings = 0; count < waiting.length && readings < MAX_READINGS; count++) {
      readings += (waiting[count] as Waiting).batch.readings.length;
    }
    return waiting.splice(0, count);
  }

  async function commit(batches: SmallBatch[]): Promise<AlertEvent[] | null> {
    try {
      points ??= await readPointTypes(sql, model);
      const events = await writeAtOnce(sql, batches, { model, points, patience: PATIENCE });
      failures = 0;
      return events;
    } catch (error) {
      // Of any other error whoever has the batch at fault will hear.
      if (closed || failureKind(error) !== 'outage') return null;
      if (failures === 0) logger.warn({ err: error }, 'each lane writes its batches alone');
      restsUntil = performance.now() + REST_MS * 2 ** Math.min(failures++, MAX_DOUBLINGS);
      for (const { resolve } of waiting.splice(0)) resolve(null);
      return null;
    }
  }

  return {
    write(batch) {
      if (closed || performance.now() < restsUntil) return Promise.resolve(null);
      return new Promise((resolve) => {
        waiting.push({ batch, resolve });
        if (!isWriting) void writeAll();
      });
    },
    close() {
      closed = true;
      return sql.end({ timeout: 0 });
    },
  };
}

function eventsOf({ transitions }: SmallBatch, events: readonly AlertEvent[]): AlertEvent[] {
  const ids = new Set(transitions.map(({ eventId }) => eventId));
  return events.filter(({ id }) => ids.has(id));
}
