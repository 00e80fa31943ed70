import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { LogMessage, LogRecord, PartitionReader, Source } from '../../src/domain/log.ts';
import { eventually } from '../support/process.ts';

/** A log of its own for one test, with a source over it. */
export interface SourceHarness {
  /** Not started yet; a new one after `reopen`. */
  source: Source;
  /** How many partitions the log has; at least two, all of them assigned to `source`. */
  partitions: number;
  /** Resolves when all are durable; messages of one key keep their order. */
  append(messages: LogMessage[]): Promise<void>;
  /** Closes the source and opens another one, of the same group, over the same log. */
  reopen(): Promise<void>;
  close(): Promise<void>;
}

/** Far longer than any adapter needs, and shorter than a test's own time limit. */
const LONG_MS = 20_000;
const TEST_MS = 40_000;

/** What the engine relies on; every adapter of the Source port must pass it. */
export function sourceContract(name: string, makeHarness: () => Promise<SourceHarness>): void {
  describe(`${name} as a source`, () => {
    let harness: SourceHarness;
    beforeEach(async () => {
      harness = await makeHarness();
    }, TEST_MS);
    afterEach(() => harness.close(), TEST_MS);
    const check = (what: string, run: (h: SourceHarness) => Promise<void>) =>
      test(what, () => run(harness), TEST_MS);

    check('assigns every partition once', assignsEveryPartition);
    check('keeps the order of a key, and a key in one partition', keepsOrder);
    check('a read waits, and wakes when a record comes', wakes);
    check('a read that gets nothing returns [] after its wait', returnsNothing);
    check('pages through many records', pages);
    check('seek reads the same records again', seeks);
    check('range and end are those of the records', ranges);
    check('a committed position is kept and never moves back', commits);
    check('a commit after pause is kept, one after close is refused', commitsAfterPause);
    check('offsets and records go on where they were after a reopen', goesOn);
    check('pause ends a waiting read at once', pauses);
    check('bytes, empty values, missing keys and any text arrive as they were', keepsBytes);
    check('arrival times are those of the append and never go back', stampsArrival);
  });
}

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (value: Uint8Array) => new TextDecoder().decode(value);
const message = (key: string | null, value: string): LogMessage => ({
  topic: 'users/u/devices/d/telemetry',
  key,
  value: bytes(value),
});
const numbered = (key: string, count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => message(key, `${key} ${from + i}`));

async function readersOf({ source, partitions }: SourceHarness): Promise<PartitionReader[]> {
  const readers: PartitionReader[] = [];
  await source.start((reader) => readers.push(reader));
  await eventually('all partitions assigned', () => readers.length >= partitions, LONG_MS);
  for (const reader of readers) reader.seek((await reader.range()).earliest);
  return readers.sort((a, b) => a.partition - b.partition);
}

async function readAll(reader: PartitionReader, count: number, page = 1_000) {
  const records: LogRecord[] = [];
  const deadline = performance.now() + LONG_MS;
  while (records.length < count && performance.now() < deadline) {
    const got = await reader.read(page, 1_000);
    expect(got.length).toBeLessThanOrEqual(page);
    records.push(...got);
    if (got.length > 0) expect(reader.end()).toBeGreaterThan(got.at(-1)?.offset ?? 0);
  }
  expect(records.length).toBe(count);
  return records;
}

/** The partition that took the key's records, which all readers are asked for. */
async function readerOfKey(harness: SourceHarness, key: string): Promise<PartitionReader> {
  await harness.append([message(key, 'first')]);
  for (const reader of await readersOf(harness)) {
    const { earliest, end } = await reader.range();
    if (end > earliest) return reader;
  }
  throw new Error('no partition has the record');
}

async function assignsEveryPartition(harness: SourceHarness): Promise<void> {
  const readers = await readersOf(harness);
  expect(readers.map(({ partition }) => partition)).toEqual([...Array(harness.partitions).keys()]);
  expect(harness.source.logId).not.toBe('');
  for (const reader of readers) {
    expect(reader.signal.aborted).toBe(false);
    expect(await reader.committed()).toBeNull();
  }
}

async function keepsOrder(harness: SourceHarness): Promise<void> {
  const keys = Array.from({ length: 20 }, (_, i) => `user_${i}/device_${i}`);
  const perKey = 30;
  for (let i = 0; i < perKey; i++) {
    await harness.append(keys.map((key) => message(key, `${key} ${i}`)));
  }
  const seen = new Map<string, { partition: number; values: string[] }>();
  for (const reader of await readersOf(harness)) {
    const { earliest, end } = await reader.range();
    let last = -1;
    for (const { offset, key, value } of await readAll(reader, end - earliest)) {
      expect(offset).toBeGreaterThan(last);
      last = offset;
      const entry = seen.get(key ?? '') ?? { partition: reader.partition, values: [] };
      expect(entry.partition).toBe(reader.partition);
      entry.values.push(text(value));
      seen.set(key ?? '', entry);
    }
  }
  expect([...seen.keys()].sort()).toEqual([...keys].sort());
  for (const [key, { values }] of seen) {
    expect(values).toEqual(Array.from({ length: perKey }, (_, i) => `${key} ${i}`));
  }
  expect(new Set([...seen.values()].map(({ partition }) => partition)).size).toBeGreaterThan(1);
}

async function wakes(harness: SourceHarness): Promise<void> {
  const reader = await readerOfKey(harness, 'a/b');
  await readAll(reader, 1);
  const started = performance.now();
  const pending = reader.read(10, LONG_MS);
  await harness.append([message('a/b', 'second')]);
  expect((await pending).map(({ value }) => text(value))).toEqual(['second']);
  expect(performance.now() - started).toBeLessThan(LONG_MS / 2);
}

async function returnsNothing(harness: SourceHarness): Promise<void> {
  const [reader] = await readersOf(harness);
  const started = performance.now();
  expect(await reader?.read(10, 50)).toEqual([]);
  expect(performance.now() - started).toBeGreaterThan(40);
}

async function pages(harness: SourceHarness): Promise<void> {
  const reader = await readerOfKey(harness, 'a/b');
  await harness.append(numbered('a/b', 2_500));
  const records = await readAll(reader, 2_501, 100);
  expect(records.slice(1).map(({ value }) => text(value))).toEqual(
    numbered('a/b', 2_500).map(({ value }) => text(value)),
  );
}

async function seeks(harness: SourceHarness): Promise<void> {
  const reader = await readerOfKey(harness, 'a/b');
  await harness.append(numbered('a/b', 50));
  const first = await readAll(reader, 51);
  reader.seek(first[20]?.offset ?? 0);
  expect(await readAll(reader, 31)).toEqual(first.slice(20));
  reader.seek(first[0]?.offset ?? 0);
  expect(await readAll(reader, 51)).toEqual(first);
}

async function ranges(harness: SourceHarness): Promise<void> {
  const reader = await readerOfKey(harness, 'a/b');
  await harness.append(numbered('a/b', 9));
  const { earliest, end } = await reader.range();
  const records = await readAll(reader, 10);
  expect(records[0]?.offset).toBe(earliest);
  expect(records.at(-1)?.offset).toBe(end - 1);
  expect(reader.end()).toBe(end);
}

async function commits(harness: SourceHarness): Promise<void> {
  const { partition, ...reader } = await readerOfKey(harness, 'a/b');
  await harness.append(numbered('a/b', 9));
  expect(await reader.committed()).toBeNull();
  await reader.commit(5);
  await reader.commit(3);
  expect(await reader.committed()).toBe(5);
  await harness.reopen();
  const again = await readersOf(harness);
  expect(await again[partition]?.committed()).toBe(5);
  await again[partition]?.commit(4);
  expect(await again[partition]?.committed()).toBe(5);
  for (const other of again) {
    if (other.partition !== partition) expect(await other.committed()).toBeNull();
  }
}

async function commitsAfterPause(harness: SourceHarness): Promise<void> {
  const reader = await readerOfKey(harness, 'a/b');
  await harness.source.pause();
  await reader.commit(1);
  await harness.reopen();
  expect(reader.commit(2)).rejects.toThrow();
  expect(await (await readersOf(harness))[reader.partition]?.committed()).toBe(1);
}

async function goesOn(harness: SourceHarness): Promise<void> {
  const reader = await readerOfKey(harness, 'a/b');
  await harness.append(numbered('a/b', 4));
  const before = await readAll(reader, 5);
  const { logId, topic } = harness.source;
  await harness.reopen();
  await harness.append(numbered('a/b', 5, 4));
  expect(harness.source).toMatchObject({ logId, topic });
  const again = (await readersOf(harness))[reader.partition] as PartitionReader;
  const after = await readAll(again, 10);
  expect(after.slice(0, 5)).toEqual(before);
  expect(after[5]?.offset).toBeGreaterThan(before[4]?.offset ?? Number.NaN);
  expect(after.slice(1).map(({ value }) => text(value))).toEqual(
    numbered('a/b', 9).map(({ value }) => text(value)),
  );
}

async function pauses(harness: SourceHarness): Promise<void> {
  const reader = await readerOfKey(harness, 'a/b');
  await readAll(reader, 1);
  const started = performance.now();
  const pending = reader.read(10, LONG_MS);
  await harness.source.pause();
  expect(reader.signal.aborted).toBe(true);
  expect(await pending).toEqual([]);
  expect(performance.now() - started).toBeLessThan(LONG_MS / 2);
  await harness.append([message('a/b', 'unread')]);
  expect(await reader.read(10, LONG_MS)).toEqual([]);
}

async function keepsBytes(harness: SourceHarness): Promise<void> {
  const pool = Uint8Array.from({ length: 1_024 }, (_, i) => i);
  const sent: LogMessage[] = [
    { topic: 'users/ü/devices/設備 1/telemetry', key: 'ü/設備 1', value: pool.subarray(256, 512) },
    { topic: 'empty', key: 'a/empty', value: new Uint8Array() },
    { topic: 'no/key', key: null, value: bytes('no key') },
    { topic: 'big', key: 'a/big', value: new Uint8Array(300_000).fill(0xff) },
  ];
  await harness.append(sent);
  const got: LogRecord[] = [];
  for (const reader of await readersOf(harness)) {
    const { earliest, end } = await reader.range();
    got.push(...(await readAll(reader, end - earliest)));
  }
  for (const { topic, key, value } of sent) {
    const record = got.find((candidate) => candidate.topic === topic);
    expect(record?.key).toBe(key);
    expect(record?.value).toBeInstanceOf(Uint8Array);
    expect(Buffer.compare(record?.value ?? bytes('missing'), value)).toBe(0);
  }
  expect(got.length).toBe(sent.length);
}

async function stampsArrival(harness: SourceHarness): Promise<void> {
  const startMs = Date.now();
  const reader = await readerOfKey(harness, 'a/b');
  for (let i = 0; i < 10; i++) await harness.append(numbered('a/b', 10));
  const arrivals = (await readAll(reader, 101)).map(({ arrivalMs }) => arrivalMs);
  expect(arrivals).toEqual([...arrivals].sort((a, b) => a - b));
  // Kafka's clock may be another machine's.
  expect(arrivals[0]).toBeGreaterThan(startMs - 1_000);
  expect(arrivals.at(-1)).toBeLessThan(Date.now() + 1_000);
}
