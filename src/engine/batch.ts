import type { AlertEvent, Held, Transition } from '../domain/alert.ts';
import { isAfter, type Reading } from '../domain/reading.ts';
import { MICROS_PER_SECOND, type Micros } from '../domain/time.ts';
import type { StoredReading } from '../store/copy-readings.ts';
import type { DeviceState } from '../store/device-state.ts';
import type { DeadLetter } from '../store/write-dead-letters.ts';

/** A reading in a batch, with where it came from. */
export interface BatchedReading extends StoredReading {
  offset: number;
  /** Its `deviceKey`. */
  device: string;
}

export type ReadingKind = 'live' | 'late' | 'replay' | 'future';

export interface FollowedRecord {
  offset: number;
  traceparent: string;
  /** When it was taken into the batch: milliseconds, monotonic. */
  takenMs: number;
}

/** What one transaction will write: the effects of a contiguous run of a partition's records. */
export interface Batch {
  /** Records covered, whatever became of them. */
  records: number;
  /** Of their values. */
  bytes: number;
  /** The last offset covered, -1 while the batch covers none (a change of the rules). */
  lastOffset: number;
  /** The newest arrival. */
  coveredAt: Micros;
  /** Arrival of the first record behind its last interruption, else of its first record. */
  flowingSince: Micros;
  /** When the first record came into the batch: milliseconds, monotonic. */
  openedAtMs: number;
  /** A transition is not written before it: milliseconds, monotonic. */
  notBeforeMs: number;
  readings: BatchedReading[];
  /** What its readings are, as the engine counts them once they are stored. */
  kinds: Record<ReadingKind, number>;
  /** Readings left out because the same key is in the batch already. */
  duplicates: number;
  devices: Map<string, DeviceState>;
  transitions: Transition[];
  held: Map<string, Held>;
  deadLetters: DeadLetter[];
  /** The versions of the rules that the batch was evaluated with, by user. */
  ruleVersions: Map<string, number>;
  /** Users whose device has seen newer rules than those: the rules here lag, unless all began anew. */
  ruledBefore: Set<string>;
  /** Holds records at or below the watermark, so its readings are probably stored already. */
  replay: boolean;
  /** Of each device the last reading, until one comes out of order. */
  last: Map<string, Reading>;
  /** Of all readings, from then on. */
  keys: Set<string> | null;
  /** Records whose messages are followed; none but where traces are collected. */
  followed: FollowedRecord[];
  /** Once it is committed: when that began and ended (milliseconds, monotonic), and its events. */
  written: { fromMs: number; toMs: number; events: readonly AlertEvent[] } | null;
}

export function createBatch(): Batch {
  return {
    records: 0,
    bytes: 0,
    lastOffset: -1,
    coveredAt: 0,
    flowingSince: 0,
    openedAtMs: 0,
    notBeforeMs: 0,
    readings: [],
    kinds: { live: 0, late: 0, replay: 0, future: 0 },
    duplicates: 0,
    devices: new Map(),
    transitions: [],
    held: new Map(),
    deadLetters: [],
    ruleVersions: new Map(),
    ruledBefore: new Set(),
    replay: false,
    last: new Map(),
    keys: null,
    followed: [],
    written: null,
  };
}

/** A log with a heartbeat each 5 s that gets nothing for longer was not taking anything in. */
const INTERRUPTION = 10 * MICROS_PER_SECOND;

/** Whether the log was interrupted between two arrivals, one behind the other. */
export function isInterruption(before: Micros, arrival: Micros): boolean {
  return arrival - before > INTERRUPTION;
}

export function coverArrival(batch: Batch, arrival: Micros): void {
  if (isInterruption(batch.coveredAt, arrival)) batch.flowingSince = arrival;
  batch.coveredAt = Math.max(batch.coveredAt, arrival);
}

/** Adds a reading unless one with its key is in the batch: COPY would refuse the second one. */
export function addReading(batch: Batch, row: BatchedReading): void {
  if (isTwice(batch, row)) {
    batch.duplicates++;
    return;
  }
  batch.readings.push(row);
}

/** While a device's readings come in order, its last one tells; after that all keys are kept. */
function isTwice(batch: Batch, { reading, device }: BatchedReading): boolean {
  if (batch.keys === null) {
    const last = batch.last.get(device);
    if (last === undefined || isAfter(reading, last)) {
      batch.last.set(device, reading);
      return false;
    }
    batch.keys = new Set(batch.readings.map((row) => readingKey(row.reading)));
  }
  const key = readingKey(reading);
  if (batch.keys.has(key)) return true;
  batch.keys.add(key);
  return false;
}

/** Neither name holds a slash, so it is unambiguous. */
function readingKey({ time, userId, deviceId, sequenceId }: Reading): string {
  return `${time}/${sequenceId}/${userId}/${deviceId}`;
}

/** A thousand payloads of the largest size would be more than one statement should carry. */
const MAX_BATCH_BYTES = 8 * 2 ** 20;

export function isHeavy(batch: Batch): boolean {
  return batch.bytes >= MAX_BATCH_BYTES;
}

export interface BatchPolicy {
  maxRows: number;
  maxWaitMs: number;
  /** A batch of so many readings at the most is written in one message; default 100. */
  smallRows?: number;
}

const SPACING_MS = 10;
const MAX_SPACING_MS = 50;

/**
 * How long after a batch the next one is written for a transition's sake alone: a transaction costs
 * far more than a transition in it, so the more of them the batch held, the longer the next one
 * collects: behind a lone one no time at all, in a stream of them twenty transactions a second of a lane.
 */
export function transitionSpacingMs({ transitions }: Batch): number {
  return Math.min(MAX_SPACING_MS, SPACING_MS * Math.max(0, transitions.length - 1));
}

/** Milliseconds, monotonic; and the records in the log behind the last one taken. */
interface Now {
  ms: number;
  recordsBehind: number;
}

/** While there is a backlog nobody waits for the next reading, so throughput comes first. */
const BACKLOG_FACTOR = 5;

/** How many records a batch takes: more than `maxRows` while the lane is far behind the log. */
export function targetRows(policy: BatchPolicy, recordsBehind: number): number {
  const backlogRows = BACKLOG_FACTOR * policy.maxRows;
  return recordsBehind > backlogRows ? backlogRows : policy.maxRows;
}

/**
 * When a batch is written: full, old enough, or holding a transition while the lane is within one
 * batch of the log's end: at once, but a stream of them `transitionSpacingMs` apart. Decides only;
 * the lane owns the clock.
 */
export function shouldFlush(batch: Batch, policy: BatchPolicy, now: Now): boolean {
  if (batch.records === 0) return batch.transitions.length > 0;
  if (batch.records >= policy.maxRows || isHeavy(batch)) return true;
  return waitMs(batch, policy, now) === 0;
}

/** How long the batch may still wait for records. */
export function waitMs(batch: Batch, policy: BatchPolicy, now: Now): number {
  const latestMs = batch.openedAtMs + policy.maxWaitMs;
  const tellsSomebody = batch.transitions.length > 0 && now.recordsBehind <= policy.maxRows;
  const dueMs = tellsSomebody ? Math.min(latestMs, batch.notBeforeMs) : latestMs;
  return Math.max(0, dueMs - now.ms);
}
