import type { Batch } from './batch.ts';

/** How often a value was at or below each bound, as Prometheus' histograms count it. */
export interface Distribution {
  readonly bounds: readonly number[];
  /** One for each bound; what is above all of them is in `count` alone. */
  readonly counts: number[];
  sum: number;
  count: number;
}

/** What the lanes of a process have committed since its start. */
export interface Measures {
  /** Records of a batch that held any. */
  batchRecords: Distribution;
  /** From the begin of its transaction to the answer to COMMIT, of the try that succeeded. */
  batchWriteSeconds: Distribution;
  /** Readings written, those included that were stored already. */
  rows: number;
  /** By reason. */
  deadLetters: Map<string, number>;
  /** By type. */
  transitions: Map<string, number>;
}

const RECORDS = [1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000];
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export function createMeasures(): Measures {
  return {
    batchRecords: distribution(RECORDS),
    batchWriteSeconds: distribution(SECONDS),
    rows: 0,
    deadLetters: new Map(),
    transitions: new Map(),
  };
}

/** Takes a committed batch into account. */
export function measureBatch(measures: Measures, batch: Batch): void {
  if (batch.records > 0) observe(measures.batchRecords, batch.records);
  if (batch.written !== null) {
    observe(measures.batchWriteSeconds, (batch.written.toMs - batch.written.fromMs) / 1_000);
  }
  measures.rows += batch.readings.length;
  for (const { reason } of batch.deadLetters) countUp(measures.deadLetters, reason);
  for (const { type } of batch.transitions) countUp(measures.transitions, type);
}

function distribution(bounds: readonly number[]): Distribution {
  return { bounds, counts: bounds.map(() => 0), sum: 0, count: 0 };
}

function observe(into: Distribution, value: number): void {
  into.sum += value;
  into.count++;
  for (let i = into.bounds.length - 1; i >= 0 && value <= (into.bounds[i] as number); i--) {
    (into.counts[i] as number)++;
  }
}

function countUp(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
