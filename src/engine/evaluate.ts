import { NO_MEMORY } from '../domain/alert.ts';
import { HEARTBEAT_TOPIC, type LogRecord } from '../domain/log.ts';
import type { Reading } from '../domain/reading.ts';
import { evaluate, foresee, hear } from '../domain/reducer.ts';
import type { RuleSet } from '../domain/rule.ts';
import { MICROS_PER_MS, type Micros } from '../domain/time.ts';
import type { DeviceState } from '../store/device-state.ts';
import { addReading, type Batch, coverArrival } from './batch.ts';
import type { Decoded } from './decode.ts';

export interface EvaluateContext {
  partition: number;
  /** Records at or below it are REPLAY. */
  watermark: number;
  /** The newest arrival before the batch: time in the log doesn't go back. */
  coveredAt: Micros;
  maxClockSkew: Micros;
  /** A device's state as of the last record, undefined for one never seen. */
  stateOf(key: string): DeviceState | undefined;
  rules: ReadonlyMap<string, RuleSet>;
}

/** Adds one decoded record to the batch: its reading or dead letter, and what the rules say. */
export function addRecord(
  batch: Batch,
  record: LogRecord,
  decoded: Decoded,
  context: EvaluateContext,
): void {
  const arrival = record.arrivalMs * MICROS_PER_MS;
  const replay = record.offset <= context.watermark;
  batch.records++;
  batch.bytes += record.value.byteLength;
  batch.lastOffset = record.offset;
  coverArrival(batch, arrival);
  batch.replay ||= replay;
  // The watermark and its clock have moved, and that is all.
  if (record.topic === HEARTBEAT_TOPIC) return;
  if (!decoded.ok) {
    batch.deadLetters.push({
      offset: record.offset,
      key: record.key,
      topic: decoded.topic,
      ...decoded.rejection,
      payload: decoded.payload ?? record.value,
      arrival,
    });
    return;
  }
  const { reading, extraText, device: key } = decoded;
  addReading(batch, { reading, extraText, offset: record.offset, device: key });
  if (replay) {
    batch.kinds.replay++;
    return;
  }
  const future = reading.time > arrival + context.maxClockSkew;
  let after = batch.devices.get(key);
  if (after === undefined) {
    after = nextState(context.stateOf(key), reading, context.partition, arrival);
    batch.devices.set(key, after);
  }
  // By the partition's clock, which silence is judged by: an older stamp would look silent.
  after.lastArrivalAt = Math.max(after.lastArrivalAt, context.coveredAt, batch.coveredAt);
  const ruleSet = context.rules.get(reading.userId);
  if (ruleSet === undefined) throw new Error(`the rules of ${reading.userId} were not loaded`);
  // Where they move within a batch, the first version stands, and the check in the transaction sees it.
  if (!batch.ruleVersions.has(reading.userId)) {
    batch.ruleVersions.set(reading.userId, ruleSet.version);
  }
  if (after.memory.version > ruleSet.version) batch.ruledBefore.add(reading.userId);
  if (future) {
    batch.kinds.future++;
    const heard = hear(after.memory, reading, ruleSet, arrival);
    after.memory = foresee(heard.memory, reading);
    batch.transitions.push(...heard.transitions);
    return;
  }
  const evidence = { partition: context.partition, offset: record.offset, arrival };
  const result = evaluate(after.memory, reading, ruleSet, evidence);
  batch.kinds[result.late > 0 ? 'late' : 'live']++;
  after.newestTime = Math.max(after.newestTime ?? reading.time, reading.time);
  after.memory = result.memory;
  batch.transitions.push(...result.transitions);
  for (const held of result.held) batch.held.set(held.alertId, held);
}

/** What the batch will leave behind, to be filled in: one version further, whatever its readings. */
function nextState(
  before: DeviceState | undefined,
  { userId, deviceId }: Reading,
  partition: number,
  arrival: Micros,
): DeviceState {
  return {
    userId,
    deviceId,
    partition,
    version: (before?.version ?? 0) + 1,
    firstSeenAt: before?.firstSeenAt ?? arrival,
    newestTime: before?.newestTime ?? null,
    lastArrivalAt: before?.lastArrivalAt ?? 0,
    memory: before?.memory ?? NO_MEMORY,
  };
}
