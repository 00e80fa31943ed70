import type { AlertEvent } from '../domain/alert.ts';
import type { Model } from '../domain/model.ts';
import type { Sql, TransactionSql } from '../store/connection.ts';
import { COPY_REFUSED, copyReadings } from '../store/copy-readings.ts';
import { saveDeviceStates } from '../store/device-state.ts';
import { errorCode } from '../store/failure.ts';
import { insertReadings } from '../store/insert-readings.ts';
import { setLocalTimeouts } from '../store/local-timeouts.ts';
import { readRuleVersions } from '../store/lock-rule-versions.ts';
import type { PartitionMaker } from '../store/partitions.ts';
import { planByIndex } from '../store/plan-by-index.ts';
import { type PointTypes, readPointTypes } from '../store/point-columns.ts';
import { markRollups, type RollupHorizon, readRollupHorizon } from '../store/rollup-marks.ts';
import {
  type LogPartition,
  moveWatermark,
  readWatermark,
  type Watermark,
} from '../store/watermark.ts';
import { appendAlertEvents, writeAlerts } from '../store/write-alerts.ts';
import { type SmallBatch, writeAtOnce } from '../store/write-at-once.ts';
import { writeDeadLetters } from '../store/write-dead-letters.ts';
import { type Batch, isInterruption } from './batch.ts';
import type { GroupCommit } from './group-commit.ts';
import { RewindError } from './rewind.ts';
import { createRuleLock, HeldRulesError } from './rule-lock.ts';

export interface Writer {
  /**
   * Writes a batch in one transaction, or nothing of it.
   *
   * @param watermark where the lane left the partition's watermark
   * @returns the events of its transitions, as they are committed
   * @throws RewindError where it can't be written as it is; else the database's error, after which
   *   it is unknown whether the batch was committed
   */
  write(batch: Batch, watermark: Watermark): Promise<AlertEvent[]>;
}

/** COPY fails whole on one duplicate: after one, inserts are the better bet for a while. */
const BATCHES_WITHOUT_COPY = 50;
/** What a message saves is less than what COPY saves of more readings. */
const SMALL_ROWS = 100;
/** What made the server refuse a small batch is often in the next one too: old readings, a lock. */
const BATCHES_THE_LONG_WAY = 20;

export function createWriter(
  deps: {
    sql: Sql;
    model: Model;
    partitions: PartitionMaker;
    /** Where small batches are tried first. */
    group?: Pick<GroupCommit, 'write'> | undefined;
  },
  options: {
    log: LogPartition;
    /** A batch of so many readings at the most goes in one message. Default 100. */
    smallRows?: number | undefined;
  },
): Writer {
  const { log, smallRows = SMALL_ROWS } = options;
  const { sql, model, partitions, group } = deps;
  const ruleLock = createRuleLock(sql);
  let insertsLeft = 0;
  let longWaysLeft = 0;
  let points = undefined as PointTypes | undefined;

  async function write(batch: Batch, watermark: Watermark): Promise<AlertEvent[]> {
    await partitions.ensure(batch.readings.map((row) => row.reading.time));
    points ??= await readPointTypes(sql, model);
    const users = usersAtRisk(batch);
    const lockRules = users.size > 0 && ruleLock.isWorthATry();
    const rulesAreFree = users.size === 0 || lockRules;
    const small = rulesAreFree ? smallBatch(batch, watermark, users) : null;
    const events = small && (await writeSmall(small, points));
    if (events) {
      if (lockRules) ruleLock.obtained();
      return events;
    }
    if (small) longWaysLeft = BATCHES_THE_LONG_WAY;
    return await writeInSteps(batch, watermark, { users, lockRules, points });
  }

  /** @returns null where it has to go the long way */
  async function writeSmall(small: SmallBatch, points: PointTypes): Promise<AlertEvent[] | null> {
    const together = group && (await group.write(small));
    return together ?? (await writeAtOnce(sql, [small], { model, points }));
  }

  /** What one message would say; null where the batch goes the long way. */
  function smallBatch(batch: Batch, from: Watermark, users: Set<string>): SmallBatch | null {
    const { readings, transitions, held, deadLetters, replay } = batch;
    const to = movedBy(from, batch);
    const isSmall = readings.length <= smallRows && deadLetters.length === 0;
    if (!isSmall || replay || to.offset === from.offset) return null;
    if (longWaysLeft > 0) {
      longWaysLeft--;
      return null;
    }
    const ruleVersions = new Map<string, number>();
    for (const userId of users) ruleVersions.set(userId, batch.ruleVersions.get(userId) ?? -1);
    const states = [...batch.devices.values()];
    return { log, from, to, readings, states, transitions, held: [...held.values()], ruleVersions };
  }

  async function writeInSteps(
    batch: Batch,
    watermark: Watermark,
    how: { users: Set<string>; lockRules: boolean; points: PointTypes },
  ): Promise<AlertEvent[]> {
    const useCopy = !batch.replay && insertsLeft === 0;
    if (insertsLeft > 0) insertsLeft--;
    try {
      return await transaction(batch, watermark, { useCopy, ...how });
    } catch (error) {
      if (!useCopy || errorCode(error) !== COPY_REFUSED) throw error;
    }
    insertsLeft = BATCHES_WITHOUT_COPY;
    return await writeInSteps(batch, watermark, how);
  }

  async function transaction(
    batch: Batch,
    watermark: Watermark,
    how: { useCopy: boolean; users: Set<string>; lockRules: boolean; points: PointTypes },
  ): Promise<AlertEvent[]> {
    const { readings, transitions, deadLetters } = batch;
    const { users, lockRules, points } = how;
    const devices = [...batch.devices.values()];
    const store = how.useCopy ? copyReadings : insertReadings;
    const work = async (tx: TransactionSql) => {
      let rollups = undefined as RollupHorizon | undefined;
      let events: AlertEvent[] = [];
      // One behind the other in one round trip; this order is the order of the locks.
      await all([
        setLocalTimeouts(tx),
        planByIndex(tx),
        checkFence(tx, watermark.offset),
        // Only behind the fence, whose lock the builder of rollups waits for.
        readings.length > 0 && readRollupHorizon(tx).then((found) => (rollups = found)),
        lockRules && checkRules(batch, users, ruleLock.versions(tx, users)),
        devices.length > 0 && saveStates(tx, devices),
        writeAlerts(tx, transitions, batch.held.values()),
        deadLetters.length > 0 && writeDeadLetters(tx, log, deadLetters),
        readings.length > 0 && store(tx, model, readings, points),
      ]);
      const next = movedBy(watermark, batch);
      await all([
        next.offset > watermark.offset && moveWatermark(tx, log, next),
        rollups !== undefined && markRollups(tx, rollups, readings),
        transitions.length > 0 &&
          appendAlertEvents(tx, transitions).then((appended) => (events = appended)),
        users.size > 0 && !lockRules && checkRules(batch, users, readRuleVersions(tx, users)),
      ]);
      return events;
    };
    try {
      return await sql.begin((tx) => work(tx as unknown as TransactionSql));
    } catch (error) {
      throw error instanceof HeldRulesError ? await ruleLock.explain(error) : error;
    }
  }

  async function checkFence(tx: TransactionSql, watermark: number): Promise<void> {
    const stored = await readWatermark(tx, log);
    if (stored?.offset === watermark) return;
    const found = stored === undefined ? 'gone' : `at ${stored.offset}`;
    const detail = `the watermark is ${found}, this lane left it at ${watermark}`;
    throw new RewindError('fence', detail);
  }

  async function checkRules(
    batch: Batch,
    userIds: Iterable<string>,
    reading: Promise<ReadonlyMap<string, number>>,
  ): Promise<void> {
    const versions = await reading;
    for (const userId of userIds) {
      const evaluated = batch.ruleVersions.get(userId);
      const inForce = versions.get(userId) ?? 0;
      if (evaluated === inForce) continue;
      const detail = `the rules of ${userId} moved from version ${evaluated} to ${inForce}`;
      throw new RewindError('rules', detail);
    }
  }

  return { write };
}

/**
 * Those whose rules must be in force still. Older rules than a device has seen would have it forget
 * what it knows, without a transition.
 */
function usersAtRisk({ ruledBefore, transitions }: Batch): Set<string> {
  const users = new Set(ruledBefore);
  for (const { userId } of transitions) users.add(userId);
  return users;
}

/**
 * Waits for all, then throws the first failure. Promise.all would end the transaction at once, and
 * what another of them still sends could stand outside of it.
 */
async function all(work: readonly unknown[]): Promise<void> {
  for (const outcome of await Promise.allSettled(work)) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
}

/**
 * Where a batch takes the watermark: never back, and to the same place however the records are cut
 * into batches. Its last interruption is enough: where it is none to the watermark, which may cover
 * newer records than the batch had seen by then, none before it is either.
 */
export function movedBy(watermark: Watermark, batch: Batch): Watermark {
  if (batch.lastOffset <= watermark.offset) return watermark;
  const flowingSince = isInterruption(watermark.coveredAt, batch.flowingSince)
    ? batch.flowingSince
    : watermark.flowingSince;
  const coveredAt = Math.max(watermark.coveredAt, batch.coveredAt);
  return { offset: batch.lastOffset, coveredAt, flowingSince };
}

async function saveStates(
  tx: TransactionSql,
  states: Parameters<typeof saveDeviceStates>[1],
): Promise<void> {
  if (await saveDeviceStates(tx, states)) return;
  throw new RewindError('fence', 'another writer moved the state of a device');
}
