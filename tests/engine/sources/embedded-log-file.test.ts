import { Database } from 'bun:sqlite';
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { type LogFile, openLogFile } from '../../../src/engine/sources/embedded-log-file.ts';

const PARTITIONS = 3;
const NOTHING = Number.NEGATIVE_INFINITY;
const EVERYTHING = Number.POSITIVE_INFINITY;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pulsegraph-log-file-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

type Kept = { offset: number; arrivalMs: number; value: string };
/** The naive log: one array for each partition. */
interface Oracle {
  kept: Kept[][];
  ends: number[];
  lastMs: number[];
}

type Step =
  | { type: 'append'; nowMs: number; partitions: number[] }
  | { type: 'expire'; beforeMs: number; floors: number[] }
  | { type: 'shrink'; floors: number[] }
  | { type: 'reopen' };

const floors = fc.array(fc.nat(60), { minLength: PARTITIONS, maxLength: PARTITIONS });
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({
      type: fc.constant('append' as const),
      // The clock may go back.
      nowMs: fc.nat(1_000),
      partitions: fc.array(fc.nat(PARTITIONS - 1), { maxLength: 30 }),
    }),
    fc.record({ type: fc.constant('expire' as const), beforeMs: fc.nat(1_000), floors }),
    fc.record({ type: fc.constant('shrink' as const), floors }),
    fc.record({ type: fc.constant('reopen' as const) }),
  ),
  { maxLength: 12 },
);

const open = (file: string) => openLogFile({ file, topic: 't', partitions: PARTITIONS });

function append(log: LogFile, nowMs: number, partitions: number[], texts: string[]): void {
  const encoded = texts.map((text) => Buffer.from(text));
  let end = 0;
  const valueEnds = encoded.map((value) => (end += value.length));
  const [topics, keys] = [texts.map(() => 't'), texts.map(() => null)];
  const values = new Uint8Array(Buffer.concat(encoded));
  const traceparents = new Map<number, string>();
  log.append({ nowMs, partitions, topics, keys, values, valueEnds, traceparents }, []);
}

function drop(log: LogFile, request: { floors: number[]; beforeMs: number; targetBytes: number }) {
  // A budget of nearly nothing: the calls must add up to the same as one long one.
  while (log.drop({ ...request, budgetMs: 0.01 }, []).more);
}

function rowsOf(file: string): Kept[][] {
  const db = new Database(file, { readonly: true });
  const kept = Array.from({ length: PARTITIONS }, (_, partition) =>
    db
      .query<Kept, []>(
        `SELECT offset, arrival_ms AS arrivalMs, CAST(value AS TEXT) AS value
         FROM records_${partition} ORDER BY offset`,
      )
      .all(),
  );
  db.close();
  return kept;
}

function stepOracle(oracle: Oracle, step: Step, texts: string[]): void {
  if (step.type === 'append') {
    step.partitions.forEach((p, i) => {
      oracle.lastMs[p] = Math.max(oracle.lastMs[p] ?? 0, step.nowMs);
      const offset = oracle.ends[p] ?? 0;
      oracle.ends[p] = offset + 1;
      oracle.kept[p]?.push({ offset, arrivalMs: oracle.lastMs[p], value: texts[i] ?? '' });
    });
  } else if (step.type !== 'reopen') {
    const mayGo = ({ arrivalMs }: Kept) => step.type === 'shrink' || arrivalMs < step.beforeMs;
    oracle.kept = oracle.kept.map((records, p) =>
      records.filter((record) => record.offset >= (step.floors[p] ?? 0) || !mayGo(record)),
    );
  }
}

test('offsets, arrival times and retention are those of the naive log', () => {
  let run = 0;
  const property = fc.property(steps, (list) => {
    const file = join(folder, `${run++}.db`);
    let log = open(file);
    const oracle: Oracle = {
      kept: Array.from({ length: PARTITIONS }, () => []),
      ends: new Array(PARTITIONS).fill(0),
      lastMs: new Array(PARTITIONS).fill(0),
    };
    try {
      list.forEach((step, n) => {
        const texts = step.type === 'append' ? step.partitions.map((_, i) => `${n}/${i}`) : [];
        if (step.type === 'append') append(log, step.nowMs, step.partitions, texts);
        else if (step.type === 'expire') drop(log, { ...step, targetBytes: EVERYTHING });
        else if (step.type === 'shrink') drop(log, { ...step, beforeMs: NOTHING, targetBytes: 0 });
        else {
          log.close();
          log = open(file);
        }
        stepOracle(oracle, step, texts);
        expect(rowsOf(file)).toEqual(oracle.kept);
        expect(log.state().bounds).toEqual(
          oracle.kept.map((records, p) => {
            const end = oracle.ends[p] ?? 0;
            return { earliest: records[0]?.offset ?? end, end };
          }),
        );
      });
    } finally {
      log.close();
    }
  });
  fc.assert(property, { numRuns: 60 });
}, 60_000);

test('retention by size drops the oldest stored records, and no more than it must', () => {
  const file = join(folder, 'size.db');
  const log = open(file);
  const texts = Array.from({ length: 50 }, (_, i) => String(i).padEnd(1_000, '.'));
  for (let i = 0; i < 60; i++) {
    append(log, i, new Array(50).fill(i % PARTITIONS), texts);
  }
  const full = log.state().usedBytes;
  expect(full).toBeGreaterThan(3_000_000);
  const all = [EVERYTHING, EVERYTHING, 0];
  drop(log, { floors: all, beforeMs: NOTHING, targetBytes: 2_000_000 });
  const { usedBytes, bounds } = log.state();
  expect(usedBytes).toBeLessThanOrEqual(2_000_000);
  expect(usedBytes).toBeGreaterThan(1_800_000);
  // The third is not stored yet; the others lose their oldest in step.
  expect(bounds[2]?.earliest).toBe(0);
  expect(Math.abs((bounds[0]?.earliest ?? 0) - (bounds[1]?.earliest ?? 0))).toBeLessThan(200);
  // What was freed is used again before the file grows.
  const pagesOf = () => {
    const db = new Database(file, { readonly: true });
    const [row] = db.query('PRAGMA page_count').values();
    db.close();
    return Number(row?.[0]);
  };
  const pages = pagesOf();
  for (let i = 0; i < 10; i++) append(log, 100, new Array(50).fill(0), texts);
  expect(pagesOf()).toBe(pages);
  log.close();
});

test('a position is saved and never moves back', () => {
  const file = join(folder, 'positions.db');
  let log = open(file);
  log.save([{ groupId: 'g', partition: 1, next: 7 }]);
  log.save([{ groupId: 'g', partition: 1, next: 5 }]);
  log.close();
  log = open(file);
  expect(log.positions()).toEqual([{ groupId: 'g', partition: 1, next: 7 }]);
  log.close();
});

test('the second to open a file takes it over, and the first writes nothing more', () => {
  const file = join(folder, 'twice.db');
  const first = open(file);
  append(first, 1, [0, 0], ['a', 'b']);
  const second = open(file);
  append(second, 2, [0], ['c']);
  expect(() => append(first, 3, [0], ['lost'])).toThrow(/another process has opened .*twice\.db/);
  append(second, 4, [0], ['d']);
  expect(rowsOf(file)[0]?.map(({ offset, value }) => `${offset}${value}`)).toEqual([
    '0a',
    '1b',
    '2c',
    '3d',
  ]);
  first.close();
  second.close();
});
