import { afterAll, beforeAll, expect, test } from 'bun:test';
import fc from 'fast-check';
import { formatMicros, parseRfc3339 } from '../../src/domain/time.ts';
import { createRollUp } from '../../src/engine/roll-up.ts';
import { model } from '../../src/model.ts';
import { type SeedReading, type Stage, seedDevices, seedReadings, stage } from './support.ts';

let on: Stage;
beforeAll(async () => {
  on = await stage();
}, 30_000);
afterAll(() => on.close());

const at = (text: string) => parseRfc3339(text) as number;
const POINT = 'start end count avg min max sum first last filled';

interface Point {
  start: string;
  count: number;
  avg: number;
  min: number;
  max: number;
  sum: number;
  first: number;
  last: number;
}

/** Statistics the slow way: every reading is asked which bucket it is in. */
function oracle(
  readings: readonly SeedReading[],
  bucketOf: (time: number) => string,
): Map<string, Omit<Point, 'start'>> {
  const groups = Map.groupBy(
    readings.filter((reading) => reading.temperature != null),
    (reading) => bucketOf(reading.time),
  );
  return new Map(
    [...groups].map(([bucket, group]) => {
      const sorted = group.toSorted(
        (a, b) => a.time - b.time || (a.sequenceId ?? 0) - (b.sequenceId ?? 0),
      );
      const values = sorted.map((reading) => reading.temperature as number);
      const sum = values.reduce((a, b) => a + b, 0);
      return [
        bucket,
        {
          count: values.length,
          sum,
          avg: sum / values.length,
          min: Math.min(...values),
          max: Math.max(...values),
          first: values[0] as number,
          last: values.at(-1) as number,
        },
      ];
    }),
  );
}

/** The calendar's day of an instant, by Intl and nothing of ours. */
function localDay(zone: string): (time: number) => string {
  const format = new Intl.DateTimeFormat('en-CA', { timeZone: zone, dateStyle: 'short' });
  return (time) => format.format(Math.floor(time / 1_000));
}

let devices = 0;

async function compare(
  readings: readonly Omit<SeedReading, 'deviceId'>[],
  range: { from: number; to: number },
  options: { bucket: string; zone: string },
  bucketOf: (time: number) => string,
): Promise<void> {
  const deviceId = `compared_${devices++}`;
  await seedDevices(on.sql, [{ deviceId }]);
  await seedReadings(
    on.sql,
    readings.map((reading) => ({ ...reading, deviceId })),
  );
  const { data, errors } = await on.query(`{ user(id: "user_1") { telemetry(
    deviceIds: ["${deviceId}"], keys: ["temperature"], from: "${formatMicros(range.from)}",
    to: "${formatMicros(range.to)}", bucket: "${options.bucket}", timezone: "${options.zone}") {
      known points { ${POINT} } } } }`);
  expect(errors).toBeUndefined();
  const inRange = readings.filter(({ time }) => time >= range.from && time < range.to);
  const expected = oracle(inRange, bucketOf);
  const points: Point[] = data.user.telemetry[0].points;
  expect(points.map(({ start }) => bucketOf(at(start)))).toEqual([...expected.keys()].toSorted());
  for (const point of points) {
    const wanted = expected.get(bucketOf(at(point.start)));
    expect(point.count).toBe(wanted?.count as number);
    for (const name of ['avg', 'min', 'max', 'sum', 'first', 'last'] as const) {
      expect(point[name]).toBeCloseTo(wanted?.[name] as number, 6);
    }
  }
}

const value = fc.option(fc.double({ min: -100, max: 100, noNaN: true }), { freq: 5, nil: null });

for (const [zone, from, to] of [
  ['Europe/Berlin', '2024-03-28T00:00:00Z', '2024-04-03T00:00:00Z'],
  ['Europe/Berlin', '2024-10-24T00:00:00Z', '2024-10-30T00:00:00Z'],
  ['America/New_York', '2024-03-07T00:00:00Z', '2024-03-13T00:00:00Z'],
  ['America/New_York', '2024-10-31T00:00:00Z', '2024-11-06T00:00:00Z'],
] as const) {
  test(`days of ${zone} around ${from.slice(0, 7)} agree with the naive way`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: at(from), max: at(to) - 1 }), value), {
          maxLength: 60,
        }),
        fc.tuple(fc.nat(86_400), fc.nat(86_400)),
        async (rows, [cutStart, cutEnd]) => {
          const readings = rows.map(([time, temperature], sequenceId) => ({
            // Whole quarters of an hour now and then, so that bounds are hit exactly.
            time: sequenceId % 3 === 0 ? time - (time % 900_000_000) : time,
            temperature,
            sequenceId,
          }));
          const range = { from: at(from) + cutStart * 1_000_000, to: at(to) - cutEnd * 1_000_000 };
          await compare(readings, range, { bucket: '1d', zone }, localDay(zone));
        },
      ),
      { numRuns: 12 },
    );
  }, 60_000);
}

test('hours and odd lengths agree with the naive way', async () => {
  const from = at('2024-03-30T22:00:00Z');
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(6 * 3_600), value), { maxLength: 60 }),
      fc.constantFrom(['7m', 420], ['15m', 900], ['1h', 3_600]),
      async (rows, [bucket, seconds]) => {
        const readings = rows.map(([second, temperature], sequenceId) => ({
          time: from + second * 1_000_000,
          temperature,
          sequenceId,
        }));
        const micros = (seconds as number) * 1_000_000;
        const bucketOf = (time: number) => formatMicros(Math.floor(time / micros) * micros);
        const range = { from: from + 60_000_000, to: from + 5 * 3_600_000_000 };
        await compare(
          readings,
          range,
          { bucket: bucket as string, zone: 'Europe/Berlin' },
          bucketOf,
        );
      },
    ),
    { numRuns: 20 },
  );
}, 60_000);

test('several devices and keys: columns, dotted paths, known and unknown', async () => {
  await seedDevices(on.sql, [
    { userId: 'multi', deviceId: 'a' },
    { userId: 'multi', deviceId: 'b' },
  ]);
  const time = at('2026-01-10T00:00:00Z');
  const extra = [
    '{"engine": {"rpm": 1000}, "pressure": 5, "big": 1e400, "tiny": 1e-400}',
    '{"engine": {"rpm": "fast"}, "pressure": 7}',
    '{"engine.rpm": 3000, "engine": {"rpm": 1}}',
  ];
  await seedReadings(
    on.sql,
    extra.map((text, n) => ({
      userId: 'multi',
      deviceId: 'a',
      time: time + n * 1_000_000,
      battery: 10 * n,
      extra: text,
    })),
  );
  const { data, errors } = await on.query(`{ user(id: "multi") { telemetry(
    keys: ["battery", "engine.rpm", "pressure", "big", "tiny", "engine.oil", "presure"],
    from: "2026-01-10T00:00:00Z", to: "2026-01-10T01:00:00Z", bucket: "1h") {
      deviceId key known bucket timezone points { count sum first last } } } }`);
  expect(errors).toBeUndefined();
  const series = new Map(
    data.user.telemetry.map((s: { deviceId: string; key: string }) => [
      `${s.deviceId} ${s.key}`,
      s,
    ]),
  );
  expect(series.size).toBe(14);
  expect(series.get('a battery')).toMatchObject({
    known: true,
    bucket: 'PT1H',
    timezone: 'UTC',
    points: [{ count: 3, sum: 30, first: 0, last: 20 }],
  });
  expect(series.get('a engine.rpm')).toMatchObject({
    known: true,
    points: [{ count: 2, sum: 4000, first: 1000, last: 3000 }],
  });
  expect(series.get('a pressure')).toMatchObject({ known: true, points: [{ count: 2, sum: 12 }] });
  expect(series.get('a big')).toMatchObject({ known: true, points: [] });
  expect(series.get('a tiny')).toMatchObject({ known: true, points: [] });
  expect(series.get('a engine.oil')).toMatchObject({ known: false, points: [] });
  expect(series.get('a presure')).toMatchObject({ known: false, points: [] });
  expect(series.get('b battery')).toMatchObject({ known: true, points: [] });
  expect(series.get('b engine.rpm')).toMatchObject({ known: false, points: [] });
});

test('fill and maxPoints by the API', async () => {
  await seedDevices(on.sql, [{ deviceId: 'gaps' }]);
  const time = at('2026-01-10T00:00:00Z');
  await seedReadings(on.sql, [
    { deviceId: 'gaps', time, temperature: 10 },
    { deviceId: 'gaps', time: time + 2 * 3_600_000_000, temperature: 20 },
  ]);
  const ask = async (args: string) =>
    (
      await on.query(`{ user(id: "user_1") { device(deviceId: "gaps") { telemetry(
        keys: ["temperature"], from: "2026-01-10T00:00:00Z", to: "2026-01-10T04:00:00Z", ${args}) {
          bucket points { count avg filled } } } } }`)
    ).data.user.device.telemetry[0];
  const avgs = async (fill: string) =>
    (await ask(`bucket: "1h", fill: ${fill}`)).points.map((p: { avg: number | null }) => p.avg);
  expect(await avgs('NONE')).toEqual([10, 20]);
  expect(await avgs('NULL')).toEqual([10, null, 20, null]);
  expect(await avgs('PREVIOUS')).toEqual([10, 10, 20, 20]);
  expect(await avgs('LINEAR')).toEqual([10, 15, 20, null]);
  expect((await ask('fill: NULL')).bucket).toBe('PT30S');
  expect((await ask('maxPoints: 4')).bucket).toBe('PT1H');
  expect((await ask('maxPoints: 4, bucket: "2h"')).bucket).toBe('PT2H');
});

test('all devices and keys are one statement, from the rollups where there are some', async () => {
  const deviceIds = ['rolled_1', 'rolled_2'];
  await seedDevices(
    on.sql,
    deviceIds.map((deviceId) => ({ deviceId })),
  );
  const time = at('2026-02-10T00:00:00Z');
  await seedReadings(
    on.sql,
    Array.from({ length: 200 }, (_, n) => ({
      deviceId: deviceIds[n % 2] as string,
      time: time + n * 600_000_000,
      temperature: n,
      battery: n % 7 === 0 ? null : n % 100,
    })),
  );
  const ask = async (keys: string) => {
    const before = on.statements().length;
    const { data, errors } = await on.query(`{ user(id: "user_1") { telemetry(
      deviceIds: ["rolled_1", "rolled_2"], keys: ${keys}, bucket: "1d", timezone: "Asia/Kathmandu",
      from: "2026-02-09T18:15:00Z", to: "2026-02-12T18:15:00Z") { key points { ${POINT} } } } }`);
    expect(errors).toBeUndefined();
    const sent = on.statements().slice(before);
    return { series: data.user.telemetry, sent: sent.filter((text) => text.includes(model.table)) };
  };
  const raw = await ask('["temperature", "battery"]');
  expect(raw.series.map(({ points }: { points: [] }) => points.length)).toEqual([2, 2, 2, 2]);
  expect(raw.sent.length).toBe(1);
  const { signal } = new AbortController();
  const round = createRollUp({ sql: on.sql, model, signal });
  while (await round()) {}
  await on.sql`DELETE FROM raw_telemetry WHERE device_id = ANY(${`{${deviceIds}}`}::text[])`;
  const rolled = await ask('["temperature", "battery"]');
  expect(rolled.series).toEqual(raw.series);
  expect(rolled.sent.length).toBe(1);
}, 30_000);
