import { createHistogram } from 'node:perf_hooks';

/** Milliseconds. */
export interface LatencySummary {
  count: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

export interface Latency {
  /** Not positive counts as one microsecond. */
  record(micros: number): void;
  summary(): LatencySummary | null;
}

export function createLatency(): Latency {
  const histogram = createHistogram();
  const ms = (percentile: number) => histogram.percentile(percentile) / 1000;
  return {
    record: (micros) => histogram.record(Math.max(1, Math.round(micros))),
    summary() {
      if (histogram.count === 0) return null;
      const max = histogram.max / 1000;
      return { count: histogram.count, p50: ms(50), p95: ms(95), p99: ms(99), max };
    },
  };
}
