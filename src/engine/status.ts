/** What the engine tells about itself, to /readyz, /metrics and `Query.ingest`. */
import type { Micros } from '../domain/time.ts';
import type { Measures } from './measures.ts';

export type LaneState = 'STARTING' | 'RUNNING' | 'WAITING' | 'STOPPED' | 'FAILED';

export interface LaneStatus {
  partition: number;
  state: LaneState;
  /** Why it waits or failed; null while it runs. */
  problem: string | null;
  /** Highest offset whose effects are stored; -1 before the first. */
  watermark: number;
  /** When the newest record that is stored arrived in the log; the epoch before the first. */
  coveredAt: Micros;
  /** The offset that the log's next record will get. */
  end: number;
  /** Records in the log that are not stored yet. */
  lag: number;
}

/** Counted since the start of the process, when a batch is committed: what is read again counts once. */
export interface IngestCounters {
  /** Stored, dead-lettered or without content, as a heartbeat is. */
  records: number;
  batches: number;
  live: number;
  late: number;
  replay: number;
  future: number;
  deadLetters: number;
  transitions: number;
  /** Batches given up and read again: the fence, another version of the rules, a refused row. */
  rewinds: number;
  /** Starts above watermark + 1: records that the log no longer had. */
  gaps: number;
}

export interface EngineStatus {
  lanes: LaneStatus[];
  counters: IngestCounters;
  measures: Measures;
}
