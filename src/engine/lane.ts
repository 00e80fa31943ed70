import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import {
  type LogRecord,
  LogUnavailable,
  type PartitionReader,
  PositionLost,
} from '../domain/log.ts';
import type { Model } from '../domain/model.ts';
import type { RuleSet } from '../domain/rule.ts';
import type { Micros } from '../domain/time.ts';
import type { AlertEventTail } from '../store/alert-event-tail.ts';
import type { Sql } from '../store/connection.ts';
import { failureKind } from '../store/failure.ts';
import type { PartitionMaker } from '../store/partitions.ts';
import type { LogPartition } from '../store/watermark.ts';
import {
  type Batch,
  type BatchPolicy,
  createBatch,
  isHeavy,
  shouldFlush,
  targetRows,
  transitionSpacingMs,
  waitMs,
} from './batch.ts';
import { commitBatch, type DeadLetterSink } from './commit.ts';
import type { Decode } from './decode.ts';
import type { GroupCommit } from './group-commit.ts';
import { createKnownStates } from './known-states.ts';
import type { Measures } from './measures.ts';
import { createPersistentWriter } from './persist.ts';
import { createPosition } from './position.ts';
import type { ReadingFeed } from './reading-feed.ts';
import { createRefusals } from './refusals.ts';
import { backoffMs, sleep, withDeadline } from './retry.ts';
import { RewindError } from './rewind.ts';
import { createSilenceWatch } from './silence-watch.ts';
import type { IngestCounters, LaneState, LaneStatus } from './status.ts';
import { createSweep } from './sweep.ts';
import { createTake } from './take.ts';
import type { Tracer } from './tracer.ts';

export interface LaneDeps {
  reader: PartitionReader;
  decode: Decode;
  rules: {
    rulesFor(
      userIds: Iterable<string>,
    ): ReadonlyMap<string, RuleSet> | Promise<ReadonlyMap<string, RuleSet>>;
    refresh(): Promise<void>;
    watchSilence(): boolean;
  };
  /** Opens the lane's own connections, so that a hung one is given up without harm to others. */
  openSql: () => Sql;
  /** Where its small batches are written with those of other lanes. */
  group: GroupCommit;
  partitions: PartitionMaker;
  /** How many partitions the log has. @throws LogUnavailable */
  logPartitions: () => Promise<number>;
  model: Model;
  feed: ReadingFeed;
  tail: Pick<AlertEventTail, 'committed'>;
  /** Told of dead letters that were committed, where they also go elsewhere. */
  deadLetters?: DeadLetterSink;
  counters: IngestCounters;
  measures: Measures;
  /** Where messages are followed. */
  tracer?: Tracer | undefined;
  logger: Logger;
}

export interface LaneOptions {
  log: LogPartition;
  policy: BatchPolicy;
  maxClockSkew: Micros;
  /** Devices whose state may be kept in memory now: less as there are more lanes. */
  maxCachedDevices: () => number;
  /** Ends every retry: a stop that may no longer wait. */
  abandon: AbortSignal;
}

export interface Lane {
  /** Ends when the partition is taken away, with all that was read written; or in state FAILED. */
  run(): Promise<void>;
  /** Has the lane resolve the episodes that the new rules leave without a rule. */
  rulesChanged(userId: string): void;
  status(): LaneStatus;
}

const IDLE_WAIT_MS = 250;
const RULES_DEADLINE_MS = 30_000;

/**
 * One partition, one transaction at a time. While a batch is being written the next one is already
 * read and evaluated, on the states that the first will leave behind; so a batch that can't be
 * written takes the one behind it along. There is one way back, whatever went wrong: drop both,
 * and read again from the watermark.
 */
export function createLane(deps: LaneDeps, options: LaneOptions): Lane {
  const { reader, rules, counters } = deps;
  const { log, policy } = options;
  const logger = deps.logger.child({ partition: log.partition });
  const refusals = createRefusals();
  const writer = createPersistentWriter(
    { ...deps, logger },
    {
      log,
      smallRows: policy.smallRows,
      refusals,
      abandon: options.abandon,
      onWaiting: (why) => setState(why === null ? 'RUNNING' : 'WAITING', why),
    },
  );
  const states = createKnownStates(writer, {
    capacity: options.maxCachedDevices,
    least: 10 * policy.maxRows,
  });
  const position = createPosition(
    { reader, writer, counters, logger },
    { log, onReset: states.clear },
  );
  const take = createTake(
    { decode: deps.decode, rulesFor, states, refusals, position },
    { partition: log.partition, maxClockSkew: options.maxClockSkew },
  );
  const { logPartitions } = deps;
  const sweep = createSweep({ writer, rulesFor, logPartitions }, log);
  const silence = createSilenceWatch({ writer, rulesFor, rules, logPartitions }, log);
  let state: LaneState = 'STARTING';
  let problem: string | null = null;
  /** Behind the back of a batch: they are read before it is evaluated again. */
  let rulesMoved = false;
  /** Since a batch was last committed. */
  let rewinds = 0;
  let batch = createBatch();
  let inFlight: { batch: Batch; done: Promise<void>; over: boolean } | null = null;

  function setState(next: LaneState, why: string | null = null): void {
    state = next;
    problem = why;
  }

  async function run(): Promise<void> {
    for (let attempt = 0; !reader.signal.aborted; attempt++) {
      try {
        if (rulesMoved) await inTime('reading the rules', rules.refresh());
        rulesMoved = false;
        await position.takeUp();
        setState('RUNNING');
        attempt = 0;
        await pump();
      } catch (error) {
        // It may still commit, and must not do so behind the back of what is read next.
        await inFlight?.done.catch(() => {});
        inFlight = null;
        batch = createBatch();
        // A sweep may have been cut short, or dropped with its batch.
        sweep.everybody();
        if (!(await recover(error, attempt))) break;
      }
    }
    if (state !== 'FAILED') setState('STOPPED');
    await writer.close();
  }

  /** Whether the lane goes on, after what it had to do or wait for. */
  async function recover(error: unknown, attempt: number): Promise<boolean> {
    if (error instanceof RewindError) {
      await rewind(error);
    } else if (error instanceof PositionLost) {
      logger.info({ detail: error.message }, 'taking the partition up again');
      position.forget();
    } else if (error instanceof LogUnavailable || failureKind(error) === 'outage') {
      const what = error instanceof LogUnavailable ? 'log' : 'database';
      setState('WAITING', (error as Error).message);
      if (attempt % 10 === 0) logger.warn({ err: error, attempt }, `waiting for the ${what}`);
      await sleep(backoffMs(attempt), reader.signal);
    } else {
      setState('FAILED', (error as Error).message);
      logger.fatal({ err: error }, 'lane stopped: nothing is lost, restart when it is mended');
      return false;
    }
    return true;
  }

  async function rewind({ kind, message }: RewindError): Promise<void> {
    counters.rewinds++;
    const level = kind === 'refused' ? 'warn' : 'info';
    logger[level]({ kind, detail: message }, 'reading again from the watermark');
    if (kind === 'fence') states.clear();
    rulesMoved ||= kind === 'rules';
    // The first is no surprise; more of them in one place must not spin. A search has an end.
    if (kind !== 'halve' && rewinds++ > 0) await sleep(backoffMs(rewinds - 2), reader.signal);
  }

  function inTime<T>(what: string, work: Promise<T>): Promise<T> {
    return withDeadline(work, RULES_DEADLINE_MS, what, options.abandon);
  }

  async function pump(): Promise<void> {
    while (!reader.signal.aborted) {
      if (sweep.isDue()) {
        await persistAll(() => sweep.batches(position.watermark.coveredAt, reader.signal));
      }
      if (silence.isDue(position.watermark)) {
        await persistAll(() => silence.batches(position.watermark, reader.signal));
      }
      if (inFlight?.over) await settle();
      const due = batch.records > 0 ? waitMs(batch, policy, now()) : IDLE_WAIT_MS;
      // Never longer: the batch in flight or the rules may call.
      await read(Math.max(1, room()), Math.min(due, IDLE_WAIT_MS));
      if (room() > 0 && !shouldFlush(batch, policy, now())) continue;
      await fill();
      await flush();
    }
    if (batch.records > 0) await flush();
    await settle();
  }

  function now() {
    return { ms: performance.now(), recordsBehind: recordsBehind() };
  }

  /** Records in the log behind the last one taken. */
  function recordsBehind(): number {
    const inFlightTo = inFlight?.batch.lastOffset ?? -1;
    const taken = Math.max(batch.lastOffset, inFlightTo, position.watermark.offset);
    return Math.max(0, reader.end() - 1 - taken);
  }

  /**
   * The more came while the batch before was being written, the larger this one gets: a stream of
   * transitions costs no more transactions than it has time for, a backlog has few and large ones.
   */
  async function fill(): Promise<void> {
    while (inFlight?.over === false && (await readMore())) await setImmediate();
    await settle();
    await readMore();
  }

  /** Takes what is there at once. @returns whether that was anything */
  async function readMore(): Promise<boolean> {
    if (room() <= 0 || recordsBehind() === 0) return false;
    const { records } = batch;
    await read(room(), 0);
    return batch.records > records;
  }

  /** How many more records the batch may take. */
  function room(): number {
    if (isHeavy(batch)) return 0;
    return Math.min(targetRows(policy, recordsBehind()), refusals.maxRecords()) - batch.records;
  }

  async function read(maxRecords: number, wait: number): Promise<void> {
    const records = await reader.read(Math.min(maxRecords, policy.maxRows), wait);
    if (records.length === 0) return;
    await refuseNewLog(records);
    await take(records, batch, inFlight?.batch);
  }

  /** A record at or below the watermark that is newer than all it covers belongs to another log. */
  async function refuseNewLog(records: readonly LogRecord[]): Promise<void> {
    if ((records[0] as LogRecord).offset > position.watermark.offset) return;
    const newer = records.find(position.isOfNewLog);
    if (newer === undefined) return;
    await settle();
    await position.startOver(`offset ${newer.offset} is newer than the watermark`);
    throw new RewindError('fence', 'a new log');
  }

  async function rulesFor(userIds: Set<string>): Promise<ReadonlyMap<string, RuleSet>> {
    const found = rules.rulesFor(userIds);
    return found instanceof Promise ? await inTime('reading the rules', found) : found;
  }

  /** Hands the batch to the writer and opens the next one. */
  async function flush(): Promise<void> {
    await settle();
    const written = batch;
    batch = createBatch();
    batch.notBeforeMs = performance.now() + transitionSpacingMs(written);
    const done = persist(written);
    // Looked at by settle(), which may come later.
    const flight = { batch: written, done, over: false };
    const landed = () => {
      flight.over = true;
    };
    done.then(landed, landed);
    inFlight = flight;
  }

  async function persist(written: Batch): Promise<void> {
    const before = position.watermark;
    await writer.write(written, before);
    position.moveBehind(written);
    if (written.records > 0) rewinds = 0;
    refusals.committed(written);
    await commitBatch({ ...deps, states }, written, before.offset);
  }

  /** Waits for the batch in flight. */
  async function settle(): Promise<void> {
    if (inFlight === null) return;
    await inFlight.done;
    inFlight = null;
  }

  /** Persists batches that no records are in, made on what is committed. */
  async function persistAll(batches: () => AsyncGenerator<Batch, void>): Promise<void> {
    if (batch.records > 0) await flush();
    await settle();
    for await (const page of batches()) await persist(page);
  }

  return {
    run,
    rulesChanged: sweep.user,
    status() {
      const end = reader.end();
      const { offset: watermark, coveredAt } = position.watermark;
      const lag = Math.max(0, end - 1 - watermark);
      return { partition: log.partition, state, problem, watermark, coveredAt, end, lag };
    },
  };
}
