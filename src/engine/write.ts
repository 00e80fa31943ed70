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
import { writeDeadLetters } from '../store/write-dead-letters.ts';
import { type Batch, isInterruption } from './batch.ts';
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

export function createWriter(
  deps: { sql: Sql; model: Model; partitions: PartitionMaker },
  { log }: { log: LogPartition },
): Writer {
  const { sql, model, partitions } = deps;
  const ruleLock = createRuleLock(sql);
  let insertsLeft = 0;
  let points = undefined as PointTypes | undefined;

  async function write(batch: Batch, watermark: Watermark): Promise<AlertEvent[]> {
    await partitions.ensure(batch.readings.map((row) => row.reading.time));
    points ??= await readPointTypes(sql, model);
    const useCopy = !batch.replay && insertsLeft === 0;
    if (insertsLeft > 0) insertsLeft--;
    try {
      return await transaction(batch, watermark, { useCopy, points });
    } catch (error) {
      if (!useCopy || errorCode(error) !== COPY_REFUSED) throw error;
    }
    insertsLeft = BATCHES_WITHOUT_COPY;
    return await write(batch, watermark);
  }

  async function transaction(
    batch: Batch,
    watermark: Watermark,
    { useCopy, points }: { useCopy: boolean; points: PointTypes },
  ): Promise<AlertEvent[]> {
    const { readings, transitions, deadLetters } = batch;
    const devices = [...batch.devices.values()];
    // Older rules than a device has seen would have it forget what it knows, without a transition.
    const users = new Set(batch.ruledBefore);
    for (const { userId } of transitions) users.add(userId);
    const store = useCopy ? copyReadings : insertReadings;
    const lockRules = users.size > 0 && ruleLock.isWorthATry();
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
