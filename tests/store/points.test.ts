import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { defineModel } from '../../src/domain/model.ts';
import type { GeoPoint } from '../../src/domain/point.ts';
import type { Reading } from '../../src/domain/reading.ts';
import { deviceKey } from '../../src/domain/topic.ts';
import { addReading, createBatch } from '../../src/engine/batch.ts';
import { createWriter, movedBy } from '../../src/engine/write.ts';
import { model as defaultModel } from '../../src/model.ts';
import type { Sql } from '../../src/store/connection.ts';
import type { StoredReading } from '../../src/store/copy-readings.ts';
import { findRefusedRows } from '../../src/store/find-refused-rows.ts';
import { latestReadings } from '../../src/store/latest-readings.ts';
import { migrate } from '../../src/store/migrate.ts';
import { createPartitionMaker } from '../../src/store/partitions.ts';
import { readPointTypes } from '../../src/store/point-columns.ts';
import { readingsBetween } from '../../src/store/readings-between.ts';
import { readingsByKey } from '../../src/store/readings-by-key.ts';
import { readingsPages } from '../../src/store/readings-page.ts';
import { justBefore, readingsToJudge } from '../../src/store/readings-to-judge.ts';
import { telemetryBuckets } from '../../src/store/telemetry-buckets.ts';
import { lockWatermark } from '../../src/store/watermark.ts';
import { noPostgis, startPostgis } from '../support/postgis.ts';
import { testDatabase } from '../support/postgres.ts';

const model = defineModel({
  topic: 'users/{user_id}/devices/{device_id}/telemetry',
  extraColumn: 'extra_data',
  table: 'parcels',
  columns: {
    location: { type: 'point', nullable: true },
    status: { type: 'text', nullable: true, maxLength: 20, values: ["ON'S", 'OFF'] },
    depot: { type: 'point', nullable: false },
  },
});
const START = Date.UTC(2024, 4, 1) * 1_000;
const LOG = { logId: 'points', topic: 'points', partition: 0 };
const DEVICE = { userId: 'ann', deviceId: 'van' };
const DEPOT = { latitude: -33.5, longitude: 151.25 };

function stored(
  sequenceId: number,
  location: GeoPoint | null,
  status: string | null = null,
): StoredReading {
  const columns = { location, status, depot: DEPOT };
  const reading: Reading = {
    ...DEVICE,
    time: START + sequenceId,
    sequenceId,
    columns,
    extra: null,
  };
  return { reading, extraText: null };
}

/** Writes as a lane does: with COPY, or as a redelivery. */
async function write(sql: Sql, rows: readonly StoredReading[], replay: boolean): Promise<void> {
  const partitions = createPartitionMaker(sql, model);
  const writer = createWriter({ sql, model, partitions }, { log: LOG, smallRows: 0 });
  const watermark = await lockWatermark(sql, LOG);
  const batch = createBatch();
  batch.replay = replay;
  const device = deviceKey(DEVICE);
  for (const row of rows) addReading(batch, { ...row, offset: 0, device });
  batch.records = rows.length;
  batch.lastOffset = watermark.offset + 1;
  await writer.write(batch, watermark);
  expect(movedBy(watermark, batch).offset).toBe(watermark.offset + 1);
}

async function all(sql: Sql): Promise<Reading[]> {
  const page = { from: null, to: null, order: 'ASC', after: null, limit: 1_000 } as const;
  return await readingsPages(sql, model, [DEVICE], page);
}

function suite(kind: string, open: () => Promise<{ sql: Sql; close: () => Promise<void> }>) {
  let sql: Sql;
  let close = async () => {};
  beforeAll(async () => {
    ({ sql, close } = await open());
    await migrate(sql, model);
  }, 60_000);
  afterAll(() => close(), 30_000);

  test('a column is what the server has for a point', async () => {
    const types = await readPointTypes(sql, model);
    expect([...types].sort()).toEqual([
      ['depot', kind],
      ['location', kind],
    ]);
    expect((await readPointTypes(sql, defaultModel)).size).toBe(0);
  });

  test('any place comes back to the digit, by COPY and by INSERT', async () => {
    const degrees = (max: number) =>
      fc.double({ min: -max, max, noNaN: true }).map((value) => value + 0);
    const place = fc.record({ latitude: degrees(90), longitude: degrees(180) });
    const places = fc.array(fc.option(place), { minLength: 1, maxLength: 40 });
    const property = fc.asyncProperty(places, fc.boolean(), async (points, replay) => {
      await sql`TRUNCATE parcels`;
      const rows = points.map((point, n) => stored(n, point, n % 2 ? "ON'S" : null));
      await write(sql, rows, replay);
      expect(await all(sql)).toEqual(rows.map(({ reading }) => reading));
    });
    const edge = { latitude: -90, longitude: 180 };
    const small = { latitude: 5e-324, longitude: -1.7976931348623157e-300 };
    const examples: [(GeoPoint | null)[], boolean][] = [
      [[edge, small, null], false],
      [[edge, small, null], true],
    ];
    await fc.assert(property, { numRuns: 20, examples });
  }, 60_000);

  test('every reader has the points', async () => {
    await sql`TRUNCATE parcels`;
    const berlin = { latitude: 52.5, longitude: 13.25 };
    const rows = [stored(0, berlin), stored(1, null), stored(2, { latitude: 50, longitude: -0.5 })];
    await write(sql, rows, false);
    // A redelivery adds nothing.
    await write(sql, rows, true);
    const [first, , last] = rows.map(({ reading }) => reading) as [Reading, Reading, Reading];
    expect(await latestReadings(sql, model, [DEVICE])).toEqual([last]);
    expect(await readingsByKey(sql, model, [first])).toEqual([first]);
    const ranges = [{ ...DEVICE, after: null, upTo: START }];
    expect(await readingsBetween(sql, model, { ranges, limit: 9 })).toEqual([first]);
    const judged = await readingsToJudge(sql, model, {
      ...{ userId: 'ann', to: START + 10, key: 'location.latitude', limit: 9 },
      devices: [{ deviceId: 'van', after: justBefore(START) }],
    });
    expect(judged.map(({ columns }) => columns.location ?? null)).toEqual([
      berlin,
      null,
      { latitude: 50, longitude: -0.5 },
    ]);
  }, 30_000);

  test('telemetry takes their numbers, beside those of other keys', async () => {
    const query = {
      ...{ userId: 'ann', deviceIds: ['van'], width: null, ends: true },
      keys: ['location.latitude', 'location.longitude', 'engine.rpm'],
      buckets: [{ start: START, end: START + 10 }],
      range: { from: START, to: START + 10 },
    };
    const rows = await telemetryBuckets(sql, model, query);
    const bucket = { deviceId: 'van', bucket: 0, count: 2 };
    expect(rows).toEqual([
      { ...bucket, key: query.keys[0], sum: 102.5, min: 50, max: 52.5, first: 52.5, last: 50 },
      {
        ...{ ...bucket, key: query.keys[1] },
        ...{ sum: 12.75, min: -0.5, max: 13.25, first: 13.25, last: -0.5 },
      },
    ] as typeof rows);
  }, 30_000);

  test('the server holds a column to its values, in partitions too; the row is found', async () => {
    await sql`TRUNCATE parcels`;
    const rows = [stored(0, null, 'OFF'), stored(1, DEPOT, 'LOST'), stored(2, null)];
    const refused = await findRefusedRows(sql, model, rows);
    expect(refused.map(({ row }) => row)).toEqual(rows.slice(1, 2));
    expect(refused[0]?.detail).toContain('status_values');
  }, 30_000);
}

describe("points of PostgreSQL's own", () => {
  suite('point', async () => {
    const db = await testDatabase({ empty: true });
    return { sql: db.sql, close: db.drop };
  });
});

describe.skipIf(noPostgis)('points of PostGIS', () => {
  suite('geometry(Point,4326)', async () => {
    const server = await startPostgis();
    const { sql } = await server.database('points');
    return { sql, close: server.remove };
  });
});
