import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import {
  breachesWithin,
  createSeries,
  type DeviceSeed,
  type Fields,
  type FieldValue,
  MIN_RUN,
} from '../../src/loadtest/fleet.ts';
import { SIGNALS } from '../../src/loadtest/signals.ts';

const deviceSeed: fc.Arbitrary<DeviceSeed> = fc.record({
  seed: fc.nat(),
  device: fc.string(),
  meanCalm: fc.integer({ min: MIN_RUN, max: 40 }),
  signals: fc.constant(SIGNALS),
});

function series(device: DeviceSeed, count: number): Fields[] {
  const { next } = createSeries(device);
  return Array.from({ length: count }, next);
}

function valueAt(fields: Fields, key: string): number | undefined {
  const value = key
    .split('.')
    .reduce<FieldValue | undefined>(
      (inner, part) => (typeof inner === 'object' ? inner[part] : undefined),
      fields,
    );
  return typeof value === 'number' ? value : undefined;
}

const HOLDS: Record<string, (value: number) => boolean> = {
  temperature: (value) => value > 80,
  battery: (value) => value < 20,
  pressure: (value) => value > 105.5,
  'engine.rpm': (value) => value > 6000,
  vibration: (value) => value >= 9,
};

/** Every stretch in which a rule holds, reading by reading; a missing value changes nothing. */
function evaluated(readings: Fields[]): { signal: number; from: number; until: number | null }[] {
  const found: { signal: number; from: number; until: number | null }[] = [];
  SIGNALS.forEach(({ key }, signal) => {
    let open: { signal: number; from: number; until: number | null } | null = null;
    readings.forEach((reading, index) => {
      const value = valueAt(reading, key);
      if (value === undefined) return;
      const holds = (HOLDS[key] as (value: number) => boolean)(value);
      if (holds && open === null) {
        open = { signal, from: index + 1, until: null };
        found.push(open);
      } else if (!holds && open !== null) {
        open.until = index + 1;
        open = null;
      }
    });
  });
  return found.sort((a, b) => a.from - b.from);
}

describe('fleet', () => {
  test('evaluating the readings one by one gives exactly the breaches that were planned', () => {
    fc.assert(
      fc.property(deviceSeed, fc.integer({ min: 0, max: 400 }), (device, count) => {
        const planned = breachesWithin(device, count).map(({ signal, from, until }) => ({
          signal,
          from,
          until: until <= count ? until : null,
        }));
        expect(evaluated(series(device, count))).toEqual(planned);
      }),
    );
  });

  test('breaches and what lies between them last at least three readings', () => {
    fc.assert(
      fc.property(deviceSeed, (device) => {
        let end = 1;
        for (const { from, until } of breachesWithin(device, 500)) {
          expect(from - end).toBeGreaterThanOrEqual(MIN_RUN);
          expect(until - from).toBeGreaterThanOrEqual(MIN_RUN);
          end = until;
        }
      }),
    );
  });

  test('the same seed gives the same readings, another one gives others', () => {
    const device = { seed: 7, device: '0/0', meanCalm: 10, signals: SIGNALS };
    expect(series(device, 200)).toEqual(series(device, 200));
    expect(series(device, 200)).not.toEqual(series({ ...device, seed: 8 }, 200));
    expect(series(device, 200)).not.toEqual(series({ ...device, device: '0/1' }, 200));
  });

  test('values at the thresholds and missing values come up', () => {
    const readings = series({ seed: 1, device: 'x', meanCalm: 5, signals: SIGNALS }, 2000);
    for (const { key, threshold } of SIGNALS) {
      const values = readings.map((reading) => valueAt(reading, key));
      expect(values).toContain(threshold);
      expect(values).toContain(undefined);
    }
  });
});
