import type { Logger } from 'pino';
import type { Source } from '../domain/log.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from '../store/connection.ts';
import { readWatermarks, type StoredWatermark } from '../store/read-watermarks.ts';
import { withDeadline } from './retry.ts';
import type { EngineStatus, LaneState } from './status.ts';

/** One partition of the log, whoever reads it. */
export interface PartitionStatus {
  partition: number;
  /** The state of its lane in this process; null where it is another's. */
  state: LaneState | null;
  problem: string | null;
  watermark: number;
  /** When the newest record that is stored arrived in the log; null before the first. */
  coveredAt: Micros | null;
  /** Null where it is not known. */
  end: number | null;
  lag: number | null;
  /** Records stored each second, over the last ten; null until two samples are there. */
  rate: number | null;
}

/** Follows how storing keeps up, in all partitions of the group. */
export interface IngestWatch {
  /** By partition. What other processes store is as of the last second. Never rejects. */
  partitions(): Promise<PartitionStatus[]>;
  close(): void;
}

interface Sample {
  atMs: number;
  watermark: number;
}

/** What only the database and the log know. */
interface Shared {
  readAtMs: number;
  watermarks: readonly StoredWatermark[];
  ends: ReadonlyMap<number, number>;
}

const SAMPLE_MS = 1_000;
const WINDOW_MS = 10_000;
const READ_DEADLINE_MS = 2_000;

/**
 * Lanes here are sampled each second, from memory. The table of watermarks and the log are asked
 * only where somebody asks, at most once a second for all of them.
 */
export function createIngestWatch(deps: {
  sql: Sql;
  source: Pick<Source, 'logId' | 'topic' | 'ends'>;
  engineStatus: () => Pick<EngineStatus, 'lanes'>;
  logger: Pick<Logger, 'warn'>;
}): IngestWatch {
  const { sql, source, engineStatus, logger } = deps;
  const history = new Map<number, Sample[]>();
  let shared: Shared = { readAtMs: Number.NEGATIVE_INFINITY, watermarks: [], ends: new Map() };
  let reading: Promise<void> | null = null;
  let isAway = false;
  const timer = setInterval(() => {
    for (const { partition, watermark } of engineStatus().lanes) sample(partition, watermark);
  }, SAMPLE_MS);
  timer.unref();

  function sample(partition: number, watermark: number): void {
    const atMs = performance.now();
    const samples = history.get(partition) ?? [];
    // Of a log that began anew the rate does too.
    if ((samples.at(-1)?.watermark ?? watermark) > watermark) samples.length = 0;
    while (samples.length > 1 && atMs - (samples[1] as Sample).atMs >= WINDOW_MS) samples.shift();
    samples.push({ atMs, watermark });
    history.set(partition, samples);
  }

  /** Where nobody asked for longer than the window, it is over that time. */
  function rate(partition: number, watermark: number): number | null {
    const since = history.get(partition)?.[0];
    if (since === undefined || watermark < since.watermark) return null;
    const seconds = (performance.now() - since.atMs) / 1_000;
    return seconds < 0.5 ? null : (watermark - since.watermark) / seconds;
  }

  async function readShared(): Promise<void> {
    try {
      const questions = Promise.all([
        readWatermarks(sql, source),
        // Lanes know their own ends; without those of others their lag is not known.
        source.ends?.().catch(() => new Map()) ?? new Map(),
      ]);
      const [watermarks, ends] = await withDeadline(questions, READ_DEADLINE_MS, 'watermarks');
      shared = { readAtMs: performance.now(), watermarks, ends };
      isAway = false;
      const here = new Set(engineStatus().lanes.map(({ partition }) => partition));
      for (const { partition, watermark } of watermarks) {
        if (!here.has(partition)) sample(partition, watermark);
      }
    } catch (error) {
      if (!isAway) logger.warn({ err: error }, 'what other processes store is not known');
      isAway = true;
    }
  }

  async function partitions(): Promise<PartitionStatus[]> {
    if (performance.now() - shared.readAtMs >= SAMPLE_MS) {
      reading ??= readShared().finally(() => (reading = null));
      await reading;
    }
    const { watermarks, ends } = shared;
    const lanes = new Map(engineStatus().lanes.map((lane) => [lane.partition, lane]));
    const stored = new Map(watermarks.map((row) => [row.partition, row]));
    const known = [...new Set([...lanes.keys(), ...stored.keys(), ...ends.keys()])];
    return known
      .sort((a, b) => a - b)
      .map((partition) => {
        const lane = lanes.get(partition);
        const watermark = lane?.watermark ?? stored.get(partition)?.watermark ?? -1;
        const end = lane?.end ?? ends.get(partition) ?? null;
        return {
          partition,
          state: lane?.state ?? null,
          problem: lane?.problem ?? null,
          watermark,
          coveredAt: (lane ?? stored.get(partition))?.coveredAt || null,
          end,
          lag: lane?.lag ?? (end === null ? null : Math.max(0, end - 1 - watermark)),
          rate: rate(partition, watermark),
        };
      });
  }

  return { partitions, close: () => clearInterval(timer) };
}
