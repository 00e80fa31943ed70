import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { bucketFault, buckets, roundBucket } from '../../src/domain/buckets.ts';
import { type Duration, formatDuration, parseDuration } from '../../src/domain/duration.ts';
import { fillPoints, type TelemetryPoint } from '../../src/domain/telemetry-fill.ts';
import { formatMicros, parseRfc3339 } from '../../src/domain/time.ts';
import { type Zone, zone } from '../../src/domain/zone.ts';
import { testDatabase } from '../support/postgres.ts';

const at = (text: string) => parseRfc3339(text) as number;
const lasting = (text: string) => parseDuration(text) as Duration;
const inZone = (name: string) => zone(name) as Zone;

test('durations are read in both ways and written in one', () => {
  const cases: [string, string][] = [
    ['90s', 'PT1M30S'],
    ['1m', 'PT1M'],
    ['P1M', 'P1M'],
    ['1mo', 'P1M'],
    ['14d', 'P2W'],
    ['P1Y2M3DT4H5M6.07S', 'P1Y2M3DT4H5M6.07S'],
    ['250ms', 'PT0.25S'],
  ];
  for (const [given, written] of cases) expect(formatDuration(lasting(given))).toBe(written);
  for (const bad of ['', 'P', 'PT', '1', '1x', '-1s', 'P1H', 'PT1D', '1.5h', '9999999999999w']) {
    expect(parseDuration(bad)).toBeNull();
  }
  expect(bucketFault(lasting('P1DT1H'))).not.toBeNull();
  expect(bucketFault(lasting('0s'))).not.toBeNull();
});

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'Australia/Lord_Howe',
  'Asia/Kathmandu',
  'America/Sao_Paulo',
  'Pacific/Apia',
];

test('days, weeks and months begin where PostgreSQL says', async () => {
  const database = await testDatabase();
  try {
    const instants = fc.sample(
      fc.tuple(
        fc.integer({ min: at('2000-01-01T00:00:00Z'), max: at('2030-01-01T00:00:00Z') }),
        fc.constantFrom(...ZONES),
        fc.constantFrom(['day', '1d'], ['week', '1w'], ['month', '1mo'], ['year', '1y']),
      ),
      600,
    );
    // The hours around clock changes, on both sides of the equator.
    for (const day of ['2024-03-31', '2024-10-27', '2024-03-10', '2024-11-03', '2018-11-04']) {
      for (let hour = 0; hour < 24; hour++) {
        const time = at(`${day}T${String(hour).padStart(2, '0')}:30:00Z`);
        for (const name of ZONES) instants.push([time, name, ['day', '1d']]);
      }
    }
    const asked = instants.map(([time, name, [unit]]) => [formatMicros(time), name, unit]);
    const rows = await database.sql<{ start: number }[]>`
      SELECT date_trunc(r ->> 2, (r ->> 0)::timestamptz, r ->> 1) AS start
      FROM jsonb_array_elements(${JSON.stringify(asked)}::text::jsonb) WITH ORDINALITY AS a (r, n)
      ORDER BY n`;
    for (const [index, [time, name, [, text]]] of instants.entries()) {
      const [bucket] = buckets({ from: time, to: time + 1 }, lasting(text as string), inZone(name));
      const start = formatMicros(bucket?.start ?? 0);
      expect(`${name} ${text} ${start}`).toBe(
        `${name} ${text} ${formatMicros(rows[index]?.start ?? 0)}`,
      );
    }
  } finally {
    await database.drop();
  }
}, 30_000);

test('buckets follow on each other and cover the range, whatever it is', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: at('2000-01-01T00:00:00Z'), max: at('2030-01-01T00:00:00Z') }),
      fc.integer({ min: 1, max: 90 * 86_400_000_000 }),
      fc.constantFrom('15m', '1h', '7h', '1d', '3d', '1w', '1mo', '3mo'),
      fc.constantFrom(...ZONES),
      (from, span, text, name) => {
        const grid = buckets({ from, to: from + span }, lasting(text), inZone(name));
        expect(grid[0]?.start).toBeLessThanOrEqual(from);
        expect(grid[0]?.end).toBeGreaterThan(from);
        expect(grid.at(-1)?.start).toBeLessThan(from + span);
        expect(grid.at(-1)?.end).toBeGreaterThanOrEqual(from + span);
        for (const [i, { start, end }] of grid.entries()) {
          expect(end).toBeGreaterThan(start);
          if (i > 0) expect(start).toBe(grid[i - 1]?.end as number);
        }
      },
    ),
    { numRuns: 150 },
  );
});

test('a day has 23, 24 or 25 hours', () => {
  const hours = (from: string, name: string) =>
    buckets({ from: at(from), to: at(from) + 1 }, lasting('1d'), inZone(name)).map(
      ({ start, end }) => (end - start) / 3_600_000_000,
    )[0];
  expect(hours('2024-03-31T12:00:00Z', 'Europe/Berlin')).toBe(23);
  expect(hours('2024-10-27T12:00:00Z', 'Europe/Berlin')).toBe(25);
  expect(hours('2024-11-03T12:00:00Z', 'America/New_York')).toBe(25);
  expect(hours('2024-03-10T12:00:00Z', 'America/New_York')).toBe(23);
});

test('maxPoints takes the smallest round bucket that fits', () => {
  const from = at('2026-01-01T00:00:00Z');
  const chosen = (span: string, maxPoints: number) => {
    const { micros, days } = lasting(span);
    const range = { from, to: from + micros + days * 86_400_000_000 };
    return formatDuration(roundBucket(range, maxPoints, inZone('UTC')));
  };
  expect(chosen('500s', 500)).toBe('PT1S');
  expect(chosen('501s', 500)).toBe('PT5S');
  expect(chosen('365d', 500)).toBe('P1D');
  expect(chosen('365d', 365)).toBe('P1D');
  expect(chosen('365d', 364)).toBe('P1W');
  expect(chosen('1d', 1)).toBe('P1D');
});

const STATISTICS = ['avg', 'min', 'max', 'first', 'last'] as const;

test('filling agrees with looking at every neighbour', () => {
  const value = fc.option(fc.integer({ min: -100, max: 100 }), { nil: null });
  fc.assert(
    fc.property(fc.array(value, { maxLength: 30 }), (values) => {
      const grid = values.map((_, i) => ({ start: i * 10, end: (i + 1) * 10 }));
      const points: TelemetryPoint[] = values.flatMap((v, i) =>
        v === null
          ? []
          : [
              {
                start: i * 10,
                end: i * 10 + 10,
                count: 1,
                avg: v,
                min: v,
                max: v,
                sum: v,
                first: v,
                last: v,
                filled: false,
              },
            ],
      );
      expect(fillPoints(points, grid, 'NONE')).toEqual(points);
      for (const fill of ['NULL', 'PREVIOUS', 'LINEAR'] as const) {
        const filled = fillPoints(points, grid, fill);
        expect(filled.map(({ start }) => start)).toEqual(grid.map(({ start }) => start));
        for (const [i, point] of filled.entries()) {
          if (values[i] !== null) {
            expect(point).toBe(points.find(({ start }) => start === i * 10) as TelemetryPoint);
            continue;
          }
          const before = values.slice(0, i).findLastIndex((v) => v !== null);
          const after = values.findIndex((v, j) => j > i && v !== null);
          let expected: number | null = null;
          if (fill === 'PREVIOUS' && before >= 0) expected = values[before] as number;
          if (fill === 'LINEAR' && before >= 0 && after >= 0) {
            const [a, b] = [values[before] as number, values[after] as number];
            expected = a + ((b - a) * (i - before)) / (after - before);
          }
          expect(point).toMatchObject({ filled: true, count: 0, sum: null });
          for (const name of STATISTICS) {
            if (expected === null) expect(point[name]).toBeNull();
            else expect(point[name]).toBeCloseTo(expected, 9);
          }
        }
      }
    }),
  );
});
