import type { Logger } from 'pino';
import { reconcile } from '../domain/alert.ts';
import {
  type LogRecord,
  LogUnavailable,
  type PartitionReader,
  PositionLost,
} from '../domain/log.ts';
import type { Model } from '../domain/model.ts';
import type { RuleSet } from '../domain/rule.ts';
import { MICROS_PER_MS, type Micros } from '../domain/time.ts';
import type { AlertEventTail } from '../store/alert-event-tail.ts';
import type { Sql } from '../store/connection.ts';
import { type DeviceState, loadDeviceStates, loadFiringDevices } from '../store/device-state.ts';
import { failureKind } from '../store/failure.ts';
import type { PartitionMaker } from '../store/partitions.ts';
import {
  type LogPartition,
  lockWatermark,
  moveWatermark,
  type Watermark,
} from '../store/watermark.ts';
import {
  type Batch,
  type BatchPolicy,
  createBatch,
  shouldFlush,
  targetRows,
  waitMs,
} from './batch.ts';
import { commitBatch, createStateCache, type DeadLetterSink } from './commit.ts';
import type { Decode, Decoded } from './decode.ts';
import { addRecord, deviceKey } from './evaluate.ts';
import { createPersistentWriter, type Rewind } from './persist.ts';
import type { ReadingFeed } from './reading-feed.ts';
import { backoffMs, sleep, withDeadline } from './retry.ts';
import { startOffset } from './start-offset.ts';
import type { IngestCounters, LaneState, LaneStatus } from './status.ts';

export interface LaneDeps {
  reader: PartitionReader;
  decode: Decode;
  rules: {
    rulesFor(
      userIds: Iterable<string>,
    ): ReadonlyMap<string, RuleSet> | Promise<ReadonlyMap<string, RuleSet>>;
    refresh(): Promise<void>;
  };
  /** Opens the lane's own connections, so that a hung one is given up without harm to others. */
  openSql: () => Sql;
  partitions: PartitionMaker;
  model: Model;
  feed: ReadingFeed;
  tail: Pick<AlertEventTail, 'poke'>;
  /** Told of dead letters that were committed, where they also go elsewhere. */
  deadLetters?: DeadLetterSink;
  counters: IngestCounters;
  logger: Logger;
}

export interface LaneOptions {
  log: LogPartition;
  policy: BatchPolicy;
  maxClockSkew: Micros;
  /** Devices whose state is kept in memory. */
  maxCachedDevices: number;
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
const SWEEP_PAGE = 500;
const RULES_DEADLINE_MS = 30_000;
const PROBE_WAIT_MS = 1_000;

/** Reading has to start again from the watermark: nothing of what is in memory will be written. */
class RewindError extends Error {
  constructor(readonly rewind: Rewind) {
    super(rewind.detail);
  }
}

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
  const states = createStateCache(Math.max(options.maxCachedDevices, 10 * policy.maxRows));
  const refused = new Map<number, string>();
  const changedUsers = new Set<string>();
  const writer = createPersistentWriter(deps, {
    log,
    refused,
    abandon: options.abandon,
    onWaiting: (problem) => setState(problem === null ? 'RUNNING' : 'WAITING', problem),
  });
  let sweepAll = true;
  let opened = false;
  let state: LaneState = 'STARTING';
  let problem: string | null = null;
  let watermark: Watermark = { offset: -1, coveredAt: 0 };
  /** Every record up to it was written by this lane, or before it began: below the watermark during a replay. */
  let handled = -1;
  /** Rewinds since the watermark last moved. */
  let rewinds = 0;
  let batch = createBatch();
  let inFlight: { batch: Batch; done: Promise<Rewind | null>; over: boolean } | null = null;

  function setState(next: LaneState, why: string | null = null): void {
    state = next;
    problem = why;
  }

  async function run(): Promise<void> {
    for (let attempt = 0; !reader.signal.aborted; attempt++) {
      try {
        await open();
        setState('RUNNING');
        attempt = 0;
        await pump();
      } catch (error) {
        // It may still commit, and must not do so behind the back of what is read next.
        await inFlight?.done.catch(() => {});
        inFlight = null;
        batch = createBatch();
        // A sweep may have been cut short, or dropped with its batch.
        sweepAll = true;
        if (error instanceof RewindError) {
          await rewind(error.rewind);
        } else if (error instanceof PositionLost) {
          logger.info({ detail: error.message }, 'taking the partition up again');
          // As at the first time: it may be another log by now.
          opened = false;
        } else if (error instanceof LogUnavailable || failureKind(error) === 'outage') {
          const what = error instanceof LogUnavailable ? 'log' : 'database';
          setState('WAITING', (error as Error).message);
          logger.warn({ err: error }, `waiting for the ${what}`);
          await sleep(backoffMs(attempt), reader.signal);
        } else {
          setState('FAILED', (error as Error).message);
          logger.fatal({ err: error }, 'lane stopped: nothing is lost, restart when it is mended');
          break;
        }
      }
    }
    if (state !== 'FAILED') setState('STOPPED');
    await writer.close();
  }

  async function rewind({ kind, detail }: Rewind): Promise<void> {
    counters.rewinds++;
    logger.info({ kind, detail }, 'reading again from the watermark');
    if (kind === 'fence') states.clear();
    if (kind === 'rules') await inTime('reading the rules', rules.refresh());
    // The first is no surprise; more of them in one place must not spin.
    if (rewinds++ > 0) await sleep(backoffMs(rewinds - 2), reader.signal);
  }

  function inTime<T>(what: string, work: Promise<T>): Promise<T> {
    return withDeadline(work, RULES_DEADLINE_MS, what, options.abandon);
  }

  /** Takes up the partition where the watermark stands. */
  async function open(): Promise<void> {
    const replaying = handled < watermark.offset;
    watermark = await writer.query('reading the watermark', (sql) =>
      sql.begin((tx) => lockWatermark(tx as never, log)),
    );
    const range = await reader.range();
    // Afterwards a replay goes on where it was, and all else at the watermark.
    const resumed = replaying ? handled + 1 : null;
    const wanted = opened ? resumed : await reader.committed();
    let { start, gap, newLog } = startOffset(watermark, wanted, range);
    if (newLog || (!opened && (await isNewerAtWatermark(range)))) {
      await resetWatermark(range.earliest - 1, `it has ${range.earliest} to ${range.end - 1}`);
      start = range.earliest;
      gap = 0;
    }
    if (gap > 0) {
      counters.gaps++;
      logger.error({ gap, start }, 'records above the watermark are no longer in the log');
    }
    // What a lost answer to COMMIT has left out; a no-op nearly always.
    if (opened && start > 0) await reader.commit(start);
    opened = true;
    handled = start - 1;
    reader.seek(start);
  }

  /** Whether the record at the watermark is newer than all that it covers: reading might begin behind. */
  async function isNewerAtWatermark(range: { earliest: number; end: number }): Promise<boolean> {
    if (watermark.offset < range.earliest || watermark.offset >= range.end) return false;
    reader.seek(watermark.offset);
    return (await reader.read(1, PROBE_WAIT_MS)).some(isOfNewLog);
  }

  function isOfNewLog({ offset, arrivalMs }: LogRecord): boolean {
    return offset <= watermark.offset && arrivalMs * MICROS_PER_MS > watermark.coveredAt;
  }

  async function resetWatermark(offset: number, why: string): Promise<void> {
    logger.warn(`a new log under the old name (${why}): watermark ${watermark.offset} is reset`);
    const next = { offset, coveredAt: 0 };
    await writer.query('resetting the watermark', (sql) =>
      sql.begin(async (tx) => {
        await lockWatermark(tx as never, log);
        await moveWatermark(tx as never, log, next);
      }),
    );
    watermark = next;
    states.clear();
  }

  /** Records in the log behind the last one taken. */
  function recordsBehind(): number {
    const taken = Math.max(batch.lastOffset, inFlight?.batch.lastOffset ?? -1, watermark.offset);
    return Math.max(0, reader.end() - 1 - taken);
  }

  async function pump(): Promise<void> {
    while (!reader.signal.aborted) {
      if (sweepAll || changedUsers.size > 0) await sweep();
      if (inFlight?.over) await settle();
      const due = batch.records > 0 ? waitMs(batch, policy, performance.now()) : IDLE_WAIT_MS;
      // Never longer: the batch in flight or the rules may call.
      const wait = Math.min(due, IDLE_WAIT_MS);
      const room = Math.max(1, targetRows(policy, recordsBehind()) - batch.records);
      const records = await reader.read(Math.min(room, policy.maxRows), wait);
      if (records.length > 0) await take(records);
      const now = { ms: performance.now(), recordsBehind: recordsBehind() };
      if (!shouldFlush(batch, policy, now)) continue;
      await settle();
      await topUp();
      await flush();
    }
    if (batch.records > 0) await flush();
    await settle();
  }

  /**
   * Takes what came while the batch before was being written. So the more comes, the larger batches
   * are, and a stream of transitions costs no more transactions than it has time for.
   */
  async function topUp(): Promise<void> {
    const room = targetRows(policy, recordsBehind()) - batch.records;
    if (room <= 0 || recordsBehind() === 0) return;
    const records = await reader.read(Math.min(room, policy.maxRows), 0);
    if (records.length > 0) await take(records);
  }

  /** Decodes and evaluates records into the batch. */
  async function take(records: readonly LogRecord[]): Promise<void> {
    await refuseNewLog(records);
    const decoded = records.map(decodeOne);
    const userIds = new Set<string>();
    for (const one of decoded) if (one.ok) userIds.add(one.reading.userId);
    const found = rules.rulesFor(userIds);
    const ruleSets = found instanceof Promise ? await inTime('reading the rules', found) : found;
    const known = await statesBefore(decoded);
    if (batch.records === 0) batch.openedAtMs = performance.now();
    for (const [index, record] of records.entries()) {
      addRecord(batch, record, decoded[index] as Decoded, {
        partition: log.partition,
        watermark: watermark.offset,
        maxClockSkew: options.maxClockSkew,
        stateOf: (key) => known.get(key),
        rules: ruleSets,
        counters,
      });
    }
    counters.records += records.length;
  }

  function decodeOne(record: LogRecord): Decoded {
    const decoded = deps.decode(record);
    const detail = refused.size > 0 ? refused.get(record.offset) : undefined;
    if (detail === undefined || !decoded.ok) return decoded;
    return {
      ok: false,
      topic: decoded.topic,
      rejection: { reason: 'REFUSED_BY_DATABASE', detail },
    };
  }

  /** A record at or below the watermark that is newer than all it covers belongs to another log. */
  async function refuseNewLog(records: readonly LogRecord[]): Promise<void> {
    if ((records[0] as LogRecord).offset > watermark.offset) return;
    const newer = records.find(isOfNewLog);
    if (newer === undefined) return;
    await settle();
    await resetWatermark(handled, `offset ${newer.offset} is newer than the watermark`);
    throw new RewindError({ kind: 'fence', detail: 'a new log' });
  }

  /** The state of every device in the chunk as of the last record taken. */
  async function statesBefore(decoded: readonly Decoded[]): Promise<Map<string, DeviceState>> {
    const known = new Map<string, DeviceState>();
    const missing = new Map<string, { userId: string; deviceId: string }>();
    for (const one of decoded) {
      if (!one.ok) continue;
      const { userId, deviceId } = one.reading;
      const key = deviceKey(userId, deviceId);
      if (known.has(key) || missing.has(key) || batch.devices.has(key)) continue;
      const found = inFlight?.batch.devices.get(key) ?? states.get(key);
      if (found !== undefined) known.set(key, found);
      else if (!states.has(key)) missing.set(key, { userId, deviceId });
    }
    if (missing.size === 0) return known;
    const devices = [...missing.values()];
    const load = (sql: Sql) => loadDeviceStates(sql, devices);
    for (const found of await writer.query('reading the states of devices', load)) {
      known.set(deviceKey(found.userId, found.deviceId), found);
    }
    for (const key of missing.keys()) states.set(key, known.get(key));
    return known;
  }

  /** Hands the batch to the writer and opens the next one. */
  async function flush(): Promise<void> {
    await settle();
    const written = batch;
    batch = createBatch();
    const done = persist(written);
    // Looked at by settle(), which may come later.
    const flight = { batch: written, done, over: false };
    const landed = () => {
      flight.over = true;
    };
    done.then(landed, landed);
    inFlight = flight;
  }

  async function persist(written: Batch): Promise<Rewind | null> {
    const result = await writer.write(written, watermark);
    if (!result.ok) return result.rewind;
    const before = watermark.offset;
    watermark = result.watermark;
    if (written.lastOffset >= 0) {
      handled = written.lastOffset;
      rewinds = 0;
    }
    counters.batches++;
    counters.transitions += written.transitions.length;
    for (const offset of refused.keys()) if (offset <= watermark.offset) refused.delete(offset);
    await commitBatch({ ...deps, states }, written, before);
    return null;
  }

  /** Waits for the batch in flight. */
  async function settle(): Promise<void> {
    if (inFlight === null) return;
    const rewind = await inFlight.done;
    inFlight = null;
    if (rewind !== null) throw new RewindError(rewind);
  }

  /** Resolves open episodes of devices that may stay silent, after a change of their rules. */
  async function sweep(): Promise<void> {
    if (batch.records > 0) await flush();
    await settle();
    const userIds = sweepAll ? null : [...changedUsers];
    sweepAll = false;
    changedUsers.clear();
    let after = { userId: '', deviceId: '' };
    while (!reader.signal.aborted) {
      const load = (sql: Sql) => loadFiringDevices(sql, log.partition, userIds, after, SWEEP_PAGE);
      const page = await writer.query('reading the firing devices', load);
      const last = page.at(-1);
      if (last === undefined) return;
      after = last;
      const found = rules.rulesFor(new Set(page.map((device) => device.userId)));
      const ruleSets = await inTime('reading the rules', Promise.resolve(found));
      for (const device of page) reconcileInto(batch, device, ruleSets.get(device.userId));
      if (batch.devices.size > 0) await flush();
      await settle();
    }
  }

  return {
    run,
    rulesChanged: (userId) => void changedUsers.add(userId),
    status: () => {
      const end = reader.end();
      const lag = Math.max(0, end - 1 - watermark.offset);
      return {
        partition: log.partition,
        state,
        problem,
        watermark: watermark.offset,
        end,
        lag,
      };
    },
  };
}

function reconcileInto(batch: Batch, device: DeviceState, ruleSet: RuleSet | undefined): void {
  if (ruleSet === undefined) return;
  const { memory, transitions } = reconcile(device.memory, device, ruleSet);
  if (memory === device.memory) return;
  const key = deviceKey(device.userId, device.deviceId);
  batch.devices.set(key, { ...device, version: device.version + 1, memory });
  batch.transitions.push(...transitions);
  batch.ruleVersions.set(device.userId, ruleSet.version);
}
