import { Database } from 'bun:sqlite';
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { StartError } from '../../../src/domain/start-error.ts';
import type { EmbeddedLog } from '../../../src/engine/sources/embedded-log.ts';
import { eventually } from '../../support/process.ts';
import { type TemporaryLogs, temporaryLogs } from './temporary-log.ts';

const MIB = 2 ** 20;
let logs: TemporaryLogs;
beforeEach(async () => {
  logs = await temporaryLogs();
});
afterEach(() => logs.remove());

const append = (log: EmbeddedLog, value: Uint8Array | string, key = 'u/d') =>
  log.append({ topic: 't', key, value: typeof value === 'string' ? Buffer.from(value) : value });
const textsOf = (log: EmbeddedLog, partition: number) =>
  log.read(partition, 0, 1_000).map(({ value }) => new TextDecoder().decode(value));
/** Appends messages of 10 kB until one waits for room. @returns how many are durable, and it */
async function fill(log: EmbeddedLog): Promise<{ durable: number; waiting: Promise<void> }> {
  for (let durable = 0; ; durable++) {
    const waiting = append(log, new Uint8Array(10_000));
    const full = eventually('durable or full', () => !log.health().ok).then(() => true);
    if (await Promise.race([full, waiting.then(() => false)])) return { durable, waiting };
  }
}
const endOf = (log: EmbeddedLog) => Math.max(...log.stats().partitions.map(({ end }) => end));
const partitionWithRecords = (log: EmbeddedLog) =>
  log.stats().partitions.findIndex(({ end }) => end > 0);

test('a full log lets appends wait, says so, and goes on when records are stored', async () => {
  const log = await logs.open({ maxBytes: MIB });
  log.attach('g');
  const { durable, waiting } = await fill(log);
  expect(durable).toBeGreaterThan(75);
  expect(log.health()).toEqual({
    ok: false,
    reason: 'the embedded log is full (1.0 MiB not yet stored): is the database reachable?',
  });
  const behind = append(log, 'behind', 'other/device');
  expect(log.stats()).toMatchObject({ queued: 2, appended: durable });
  expect(log.stats().usedBytes).toBeLessThan(MIB + 16_384);

  const partition = partitionWithRecords(log);
  log.commit({ groupId: 'g', partition, next: 40 });
  await Promise.all([waiting, behind]);
  expect(log.health()).toEqual({ ok: true });
  const { earliest, end } = log.bounds(partition);
  expect(earliest).toBeGreaterThan(0);
  expect(earliest).toBeLessThanOrEqual(40);
  expect(end).toBeGreaterThanOrEqual(durable + 1);
  expect(logs.lines.join('\n')).toMatch(/warn: .*is full[\s\S]*info: .*has room again/);
}, 30_000);

test('nothing goes before a group has stored it, however old and full', async () => {
  let nowMs = 0;
  const log = await logs.open({ maxBytes: MIB, retentionMs: 1_000, now: () => nowMs });
  const { durable, waiting } = await fill(log);
  nowMs = 1e9;
  const detach = log.attach('g');
  const partition = partitionWithRecords(log);
  expect(log.bounds(partition)).toEqual({ earliest: 0, end: durable });
  log.commit({ groupId: 'g', partition, next: durable });
  await waiting;
  await eventually('the old ones gone', () => log.bounds(partition).earliest === durable);
  expect(log.bounds(partition).end).toBe(durable + 1);
  detach();
}, 30_000);

test('stored records go by age', async () => {
  let nowMs = 10_000;
  const log = await logs.open({ retentionMs: 1_000, now: () => nowMs });
  log.attach('g');
  for (let i = 0; i < 5; i++) await append(log, `old ${i}`);
  nowMs += 5_000;
  for (let i = 0; i < 5; i++) await append(log, `new ${i}`);
  const partition = partitionWithRecords(log);
  log.commit({ groupId: 'g', partition, next: 7 });
  await eventually('the old ones gone', () => log.bounds(partition).earliest > 0);
  expect(textsOf(log, partition)).toEqual([0, 1, 2, 3, 4].map((i) => `new ${i}`));
}, 30_000);

test('a message larger than the free share, or than the whole limit, gets its room', async () => {
  const log = await logs.open({ maxBytes: MIB });
  log.attach('g');
  for (let i = 0; i < 70; i++) await append(log, new Uint8Array(10_000));
  const partition = partitionWithRecords(log);
  log.commit({ groupId: 'g', partition, next: 70 });
  await append(log, new Uint8Array(500_000));
  log.commit({ groupId: 'g', partition, next: 71 });
  await append(log, new Uint8Array(2 * MIB));
  expect(log.bounds(partition)).toEqual({ earliest: 71, end: 72 });
  expect(log.health()).toEqual({ ok: true });
}, 30_000);

test('arrival times never go back, not even over a restart', async () => {
  let nowMs = 5_000;
  let log = await logs.open({ partitions: 1, now: () => nowMs });
  await append(log, 'a');
  nowMs = 4_000;
  await append(log, 'b');
  await log.close();
  nowMs = 3_000;
  log = await logs.open({ partitions: 1, now: () => nowMs });
  await append(log, 'c');
  nowMs = 6_000;
  await append(log, 'd');
  expect(log.read(0, 0, 10).map(({ arrivalMs }) => arrivalMs)).toEqual([5e3, 5e3, 5e3, 6e3]);
});

test('one read keeps to some MiB', async () => {
  const log = await logs.open({ partitions: 1 });
  await Promise.all(Array.from({ length: 20 }, () => append(log, new Uint8Array(MIB))));
  expect(log.read(0, 0, 1_000).length).toBe(4);
  expect(log.read(0, 19, 1_000).length).toBe(1);
});

test('a file grows to more partitions and keeps them', async () => {
  const first = await logs.open({ partitions: 2 });
  await append(first, 'a');
  const { logId } = first;
  await first.close();
  const grown = await logs.open({ partitions: 5 });
  expect(grown).toMatchObject({ logId, partitions: 5 });
  for (let i = 0; i < 50; i++) await append(grown, 'x', `u/${i}`);
  expect(grown.stats().partitions.every(({ end }) => end > 0)).toBe(true);
  await grown.close();
  expect((await logs.open({ partitions: 2 })).partitions).toBe(5);
  expect(logs.lines.at(-1)).toMatch(/^warn: the log .* keeps its 5 partitions/);
});

test('close rejects what waits, and what comes after it', async () => {
  const log = await logs.open({ maxBytes: MIB });
  const { waiting } = await fill(log);
  const outcome = waiting.then(
    () => 'durable',
    (error: Error) => error.message,
  );
  await log.close();
  expect(await outcome).toBe('not logged: the embedded log is closing');
  expect(append(log, 'late')).rejects.toThrow('the embedded log is closing');
  expect(log.health().ok).toBe(false);
}, 30_000);

test('a commit beyond the end would drop what is yet to come: it counts as the end', async () => {
  const log = await logs.open({ partitions: 1 });
  await append(log, 'a');
  log.commit({ groupId: 'g', partition: 0, next: 1_000 });
  expect(log.committed('g', 0)).toBe(1);
  expect(endOf(log)).toBe(1);
});

const startFault = async (options?: Parameters<TemporaryLogs['open']>[0]) => {
  const error = await logs.open(options).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(StartError);
  const { message } = error as StartError;
  expect(message).not.toContain('\n');
  expect(message).toContain(options?.file ?? logs.file);
  return message;
};

test('a file that is no log, or another program’s, is refused in one line', async () => {
  await writeFile(logs.file, 'not a database, but long enough to have a header'.repeat(100));
  expect(await startFault()).toContain('file is not a database');
  const other = `${logs.file}.other`;
  const foreign = new Database(other);
  foreign.run('CREATE TABLE theirs (a)');
  foreign.close();
  expect(await startFault({ file: other })).toContain("another program's SQLite file");
  expect(await startFault({ file: '/dev/null/log.db' })).toContain("can't be opened");
});

test('a damaged file is refused in one line', async () => {
  await (await logs.open()).close();
  const content = new Uint8Array(await Bun.file(logs.file).arrayBuffer());
  // The first page holds the schema, after a header of 100 bytes.
  await writeFile(logs.file, content.fill(0xee, 100));
  expect(await startFault()).toMatch(/can't be opened \(.*malformed.*mend or move/);
});

test('another topic or a newer version is refused in one line', async () => {
  await (await logs.open()).close();
  expect(await startFault({ topic: 'other' })).toContain('set KAFKA_TOPIC=iot-stream');
  const db = new Database(logs.file);
  db.run('PRAGMA user_version = 99');
  db.close();
  expect(await startFault()).toContain('has log version 99');
});

test('a record keeps its trace context, also in a file that was made before there was one', async () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const message = { topic: 't', key: 'k', value: new Uint8Array([1]), partition: 0 };
  const before = await logs.open({ partitions: 2 });
  await before.append(message);
  await before.close();
  const db = new Database(logs.file);
  for (const partition of [0, 1])
    db.run(`ALTER TABLE records_${partition} DROP COLUMN traceparent`);
  db.run('PRAGMA user_version = 1');
  db.close();
  const log = await logs.open({ partitions: 3 });
  await Promise.all([log.append(message), log.append({ ...message, traceparent })]);
  await log.append({ ...message, traceparent, partition: 2 });
  const context = (partition: number) => log.read(partition, 0, 10).map((one) => one.traceparent);
  expect(context(0)).toEqual([null, null, traceparent]);
  expect(context(2)).toEqual([traceparent]);
});
