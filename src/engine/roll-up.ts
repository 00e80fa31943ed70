import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import { ROLLUP_MICROS, rolledColumns, rollupStart } from '../domain/rollup.ts';
import { MICROS_PER_MS, type Micros } from '../domain/time.ts';
import {
  buildRollups,
  firstReading,
  markedBuckets,
  type RollupRange,
  rebuildMarked,
} from '../store/build-rollups.ts';
import type { Sql } from '../store/connection.ts';
import { errorCode } from '../store/failure.ts';
import { createPartitionMaker } from '../store/partitions.ts';
import {
  openGeneration,
  type RollupProgress,
  readRollupProgress,
} from '../store/rollup-progress.ts';
import { ROLLUPS } from '../store/rollups-schema.ts';
import { sleep } from './retry.ts';

export interface RollUp {
  sql: Sql;
  model: Model;
  signal: AbortSignal;
  /** In one transaction; default 2,000. */
  maxMarks?: number;
  /** After which a round leaves the rest to the next one, which looks for marks first. */
  roundMs?: number;
  nowMs?: () => number;
}

/** Between two transactions, so that the database gets to its other work. */
const BREATH_MS = 20;
/** A piece of history that took less or more is followed by one of twice or half the time. */
const SHORT_MS = 300;
const LONG_MS = 1_500;
const FIRST_PIECE: Micros = 4 * ROLLUP_MICROS;
const LONGEST_PIECE: Micros = 31 * 24 * 4 * ROLLUP_MICROS;
/** One step of very many devices is made in parts, lest a statement takes longer than it may. */
const TOO_LONG_MS = 20_000;
const MAX_SLICES = 256;
const QUERY_CANCELED = '57014';

/** Rolls up what is due until the signal aborts, a round every `intervalMs`. Never rejects. */
export async function keepRolledUp(
  work: RollUp & { logger: Pick<Logger, 'info' | 'warn'>; intervalMs: number },
): Promise<void> {
  const { model, signal, logger, intervalMs } = work;
  if (rolledColumns(model).length === 0) return;
  const rollUp = createRollUp(work);
  let behind = false;
  while (!signal.aborted) {
    try {
      const isBehind = await rollUp();
      if (behind && !isBehind) logger.info('the rollups have caught up with the readings');
      behind = isBehind;
      await sleep(behind ? BREATH_MS : intervalMs, signal);
    } catch (error) {
      if (signal.aborted) return;
      logger.warn({ err: error }, 'rollups are not made; they will be later');
      await sleep(intervalMs, signal);
    }
  }
}

/**
 * One round: first the marked steps, then what has become old enough, piece by piece. Everything
 * that a round has done is kept, whenever it ends.
 *
 * @returns a round; it resolves with whether more is to be done at once
 */
export function createRollUp(work: RollUp): () => Promise<boolean> {
  const { sql, model, signal, maxMarks = 2_000, roundMs = 10_000, nowMs = Date.now } = work;
  let piece = FIRST_PIECE;
  let slices = 1;

  async function round(): Promise<boolean> {
    const progress = await readRollupProgress(sql, { now: nowMs() * MICROS_PER_MS });
    if (progress === undefined) return false;
    const to = Math.max(progress.horizon, progress.target);
    if (!progress.marked && progress.builtTo >= to) return false;
    const generation = await openGeneration(sql, { target: to });
    const partitions = createPartitionMaker(sql, { table: ROLLUPS });
    if (progress.marked) await workOffMarks(generation, partitions.ensure);
    return await buildHistory(progress, to, partitions.ensure);
  }

  async function workOffMarks(generation: number, ensure: Ensure): Promise<void> {
    while (!signal.aborted) {
      const page = { generation, limit: maxMarks };
      await ensure(await markedBuckets(sql, page));
      if ((await rebuildMarked(sql, model, page)) < maxMarks) return;
      await sleep(BREATH_MS, signal);
    }
  }

  async function buildHistory(
    { builtTo, keptFrom }: RollupProgress,
    to: Micros,
    ensure: Ensure,
  ): Promise<boolean> {
    const deadline = performance.now() + roundMs;
    let done = builtTo;
    while (done < to) {
      const first = await firstReading(sql, model, { from: Math.max(done, keptFrom), to });
      const from = first === null ? to : rollupStart(first);
      const end = Math.min(to, from + piece, startOfNextMonth(from));
      await ensure([from]);
      if (!(await buildPiece({ from, to: end }, done))) return true;
      done = end;
      if (signal.aborted || performance.now() > deadline) break;
      await sleep(BREATH_MS, signal);
    }
    return done < to;
  }

  /** False where it has to be tried again, from where it stands by then. */
  async function buildPiece(range: RollupRange, builtTo: Micros): Promise<boolean> {
    const started = performance.now();
    try {
      const isDone = await buildRollups(sql, model, range, { builtTo, slices });
      adapt(performance.now() - started);
      return isDone;
    } catch (error) {
      if (errorCode(error) !== QUERY_CANCELED || slices === MAX_SLICES) throw error;
      adapt(Number.POSITIVE_INFINITY);
      return false;
    }
  }

  function adapt(tookMs: number): void {
    if (tookMs < SHORT_MS) piece = Math.min(2 * piece, LONGEST_PIECE);
    else if (tookMs <= LONG_MS) return;
    else if (piece > ROLLUP_MICROS) piece = Math.max(ROLLUP_MICROS, rollupStart(piece / 2));
    else if (tookMs > TOO_LONG_MS * slices) slices = Math.min(2 * slices, MAX_SLICES);
  }

  return round;
}

type Ensure = (times: Iterable<Micros>) => Promise<void>;

/** Where its partition ends. */
function startOfNextMonth(time: Micros): Micros {
  const date = new Date(Math.floor(time / MICROS_PER_MS));
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1) * MICROS_PER_MS;
}
