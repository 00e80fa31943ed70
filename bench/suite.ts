/** What a benchmark is made of: rows of figures, each beside a plain baseline in the same run. */

/** One measured case: `name`, and what the suite's columns show. */
export type Row = { name: string } & Record<string, number | string | null>;

export interface Column {
  /** Into the row. */
  key: string;
  title: string;
  /** Behind the point. Default 0. */
  digits?: number;
}

export interface Around {
  /** Of a throughput case: ceiling, baseline and Pulsegraph in turn. */
  rounds: number;
  /** In a round of a throughput case. */
  records: number;
  /** Small loads: whether it runs, not how fast. */
  quick: boolean;
  soakMinutes: number;
}

export interface Suite {
  name: string;
  title: string;
  /** What is measured, and what the baseline is: a sentence or two for the reader of the table. */
  about: string;
  columns: readonly Column[];
  /** Names of its rows. */
  cases: readonly string[];
  /** @param cases those that are wanted, in order; at least one */
  measure(cases: readonly string[], around: Around): AsyncGenerator<Row, void>;
}

/** 0 of none. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** @param share 0.99 is the 99th percentile; 0 of none */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
