import { expect } from 'bun:test';
import { type Bucket, type BucketRange, buckets } from '../../src/domain/buckets.ts';
import { type Duration, parseDuration } from '../../src/domain/duration.ts';
import type { Micros } from '../../src/domain/time.ts';
import { deviceKey } from '../../src/domain/topic.ts';
import { type Zone, zone } from '../../src/domain/zone.ts';
import { addReading, createBatch } from '../../src/engine/batch.ts';
import { createRollUp } from '../../src/engine/roll-up.ts';
import { createWriter, movedBy } from '../../src/engine/write.ts';
import { model } from '../../src/model.ts';
import type { Sql, TransactionSql } from '../../src/store/connection.ts';
import { createPartitionMaker } from '../../src/store/partitions.ts';
import { type BucketRow, telemetryBuckets } from '../../src/store/telemetry-buckets.ts';
import { lockWatermark, type Watermark } from '../../src/store/watermark.ts';

export const MINUTE = 60_000_000;
export const STEP = 15 * MINUTE;
export const USER = 'user_1';

export interface TestReading {
  time: Micros;
  deviceId: string;
  sequenceId: number;
  temperature: number | null;
  battery: number | null;
  pressure: number | null;
}

/** Writes batches as a lane does, in one transaction each. */
export function createTestLane(sql: Sql, partition: number) {
  const log = { logId: 'test', topic: 'test', partition };
  const writer = createWriter(
    { sql, model, partitions: createPartitionMaker(sql, model) },
    { log },
  );
  let watermark: Watermark | null = null;
  return async (readings: readonly TestReading[], options: { replay?: boolean } = {}) => {
    watermark ??= await lockWatermark(sql, log);
    const batch = createBatch();
    batch.replay = options.replay ?? false;
    for (const { time, deviceId, sequenceId, temperature, battery, pressure } of readings) {
      addReading(batch, {
        device: deviceKey({ userId: USER, deviceId }),
        reading: {
          ...{ time, userId: USER, deviceId, sequenceId, extra: null },
          columns: { temperature, battery },
        },
        extraText: pressure === null ? null : JSON.stringify({ pressure }),
        offset: 0,
      });
    }
    batch.records = readings.length;
    batch.lastOffset = watermark.offset + 1;
    await writer.write(batch, watermark);
    watermark = movedBy(watermark, batch);
  };
}

/** One round of the builder at a time of its own. */
export function rollUp(
  sql: Sql,
  now: Micros,
  options: { roundMs?: number; maxMarks?: number } = {},
) {
  const { signal } = new AbortController();
  return createRollUp({ sql, model, signal, nowMs: () => now / 1_000, ...options })();
}

export async function rollUpAll(sql: Sql, now: Micros): Promise<void> {
  while (await rollUp(sql, now)) {}
}

export interface Question {
  range: BucketRange;
  bucket: string;
  zone: string;
  keys: readonly string[];
  deviceIds: readonly string[];
  ends: boolean;
}

export async function ask(sql: Sql, question: Question): Promise<BucketRow[]> {
  const { range, keys, deviceIds, ends } = question;
  const bucket = parseDuration(question.bucket) as Duration;
  return await telemetryBuckets(sql, model, {
    ...{ userId: USER, deviceIds, keys, buckets: gridOf(question), range, ends },
    width: bucket.micros > 0 ? bucket.micros : null,
  });
}

function gridOf({ range, bucket, zone: name }: Question): Bucket[] {
  return buckets(range, parseDuration(bucket) as Duration, zone(name) as Zone);
}

/** Asserts that telemetry gives what the readings alone give, both as one snapshot has them. */
export async function expectRawAnswer(sql: Sql, question: Question): Promise<BucketRow[]> {
  const { range, keys, deviceIds, ends } = question;
  const grid = gridOf(question);
  const [rows, readings] = (await sql.begin('ISOLATION LEVEL REPEATABLE READ', async (tx) => [
    await ask(tx as unknown as Sql, question),
    await storedReadings(tx as unknown as TransactionSql),
  ])) as [BucketRow[], TestReading[]];
  const expected = deviceIds.flatMap((deviceId) =>
    keys.flatMap((key) => naive(readings, deviceId, key as 'temperature', range, grid)),
  );
  const order = ({ deviceId, key, bucket }: BucketRow) =>
    `${deviceId} ${key} ${String(bucket).padStart(6, '0')}`;
  const byOrder = (a: BucketRow, b: BucketRow) => (order(a) < order(b) ? -1 : 1);
  const shown = rows.toSorted(byOrder).map(({ sum: _, ...row }) => row);
  const wanted = expected.map(({ row: { sum: _, ...row } }) =>
    ends ? row : { ...row, first: null, last: null },
  );
  expect(shown).toEqual((wanted as BucketRow[]).toSorted(byOrder));
  const sums = new Map(rows.map((row) => [order(row), row.sum]));
  for (const { row, magnitude } of expected) {
    const sum = sums.get(order(row)) as number;
    expect(Math.abs(sum - row.sum)).toBeLessThanOrEqual(1e-12 * magnitude);
  }
  return rows;
}

async function storedReadings(tx: TransactionSql): Promise<TestReading[]> {
  return await tx<TestReading[]>`
    SELECT time, device_id AS "deviceId", sequence_id AS "sequenceId", temperature, battery,
      (extra_data ->> 'pressure')::float8 AS pressure
    FROM raw_telemetry WHERE user_id = ${USER} ORDER BY time, sequence_id`;
}

/** Every reading, in order, is asked which bucket it is in. */
function naive(
  readings: readonly TestReading[],
  deviceId: string,
  key: 'temperature' | 'battery' | 'pressure',
  range: BucketRange,
  grid: readonly { start: Micros; end: Micros }[],
): { row: BucketRow; magnitude: number }[] {
  const groups = new Map<number, number[]>();
  for (const reading of readings) {
    const value = reading[key];
    if (reading.deviceId !== deviceId || value === null) continue;
    if (reading.time < range.from || reading.time >= range.to) continue;
    const bucket = grid.findIndex(({ start, end }) => reading.time >= start && reading.time < end);
    groups.set(bucket, [...(groups.get(bucket) ?? []), value]);
  }
  return [...groups].map(([bucket, values]) => ({
    row: {
      ...{ deviceId, key, bucket, count: values.length },
      sum: values.reduce((a, b) => a + b, 0),
      min: Math.min(...values),
      max: Math.max(...values),
      first: values[0] as number,
      last: values.at(-1) as number,
    },
    magnitude: values.reduce((a, b) => a + Math.abs(b), 0),
  }));
}
