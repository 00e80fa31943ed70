import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { model as logistics } from '../../examples/logistics/model.ts';
import { model as ticks } from '../../examples/ticks/model.ts';
import { comparable, holds } from '../../src/domain/compare.ts';
import { type Column, defineModel, type Model } from '../../src/domain/model.ts';
import { type Reading, valueAt } from '../../src/domain/reading.ts';
import { parseConfig } from '../../src/domain/rule-config.ts';
import { createDecoder } from '../../src/engine/decode.ts';
import { createDevices } from '../../src/loadtest/devices.ts';
import { type Breach, breachesWithin } from '../../src/loadtest/fleet.ts';
import { fleetRules } from '../../src/loadtest/fleet-rules.ts';
import { createSimulation } from '../../src/loadtest/simulation.ts';
import { model } from '../../src/model.ts';

const NOW = Date.UTC(2026, 0, 1) * 1000;

/** What one simulated device sends, as the engine would take it in. */
function decoded(of: Model, seed: number, count: number) {
  const simulation = createSimulation(of);
  const fleet = { run: 'load_1', users: 1, devicesPerUser: 1, seed, meanCalm: 5, simulation };
  const [device] = createDevices({ ...fleet, total: count });
  const decode = createDecoder(of, { maxPayloadBytes: 10_000 });
  const readings = Array.from({ length: count }, () => {
    const value = Buffer.from(device?.next(NOW).payload ?? '');
    const topic = device?.topic ?? '';
    const result = decode({ topic, key: null, value, offset: 0, arrivalMs: NOW / 1000 });
    if (!result.ok) throw new Error(`${value}: ${JSON.stringify(result.rejection)}`);
    return result.reading;
  });
  return { simulation, device, readings };
}

type Held = Omit<Breach, 'until'> & { until: number | null };

/** Every stretch in which a rule holds, reading by reading; a missing value changes nothing. */
function held(readings: readonly Reading[], { signals }: ReturnType<typeof createSimulation>) {
  const found: Held[] = [];
  signals.forEach(({ key, operator, threshold }, signal) => {
    let open: Held | null = null;
    readings.forEach((reading, index) => {
      const value = comparable(valueAt(reading, key), threshold);
      if (value === null) return;
      const isHeld = holds(value, operator, threshold);
      if (isHeld && open === null) {
        open = { signal, from: index + 1, until: null };
        found.push(open);
      } else if (!isHeld && open !== null) {
        open.until = index + 1;
        open = null;
      }
    });
  });
  return found.sort((a, b) => a.from - b.from);
}

function expectPlanned(of: Model, seed: number, count = 300): void {
  const { simulation, device, readings } = decoded(of, seed, count);
  const planned = breachesWithin(device?.seed ?? (null as never), count);
  expect(held(readings, simulation)).toEqual(
    planned.map((breach) => ({ ...breach, until: breach.until <= count ? breach.until : null })),
  );
  const rules = fleetRules(simulation.signals, 'm');
  const parsed = parseConfig(
    { rules: rules.map(({ ruleId: id, ...rule }) => ({ id, ...rule })) },
    of,
  );
  expect(parsed).toMatchObject({ ok: true });
}

const bound = fc.integer({ min: -5_000, max: 5_000 });
const nullable = fc.boolean();
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const numbers = fc
  .record({
    type: fc.constantFrom('double' as const, 'integer' as const),
    nullable,
    low: optional(bound),
    span: optional(fc.integer({ min: 2, max: 100_000 })),
  })
  .map(({ low, span, ...column }): Column => {
    const bounds = { min: low, max: span === undefined ? undefined : (low ?? 0) + span };
    return { ...column, ...JSON.parse(JSON.stringify(bounds)) };
  });
const words = fc.uniqueArray(fc.constantFrom('NEW', 'DELAYED', 'LOST', 'DONE'), { minLength: 2 });
const column: fc.Arbitrary<Column> = fc.oneof(
  numbers,
  nullable.map((nullable): Column => ({ type: 'boolean', nullable })),
  fc.tuple(nullable, words).map(([nullable, values]): Column => {
    return { type: 'text', nullable, maxLength: 8, values };
  }),
  fc.constant<Column>({ type: 'text', nullable: false, maxLength: 3 }),
  nullable.map((nullable): Column => ({ type: 'point', nullable })),
);

describe('the devices of a model', () => {
  for (const [name, of] of Object.entries({ default: model, logistics, ticks })) {
    test(`${name}: all that they send is taken, and its rules hold where planned`, () => {
      fc.assert(
        fc.property(fc.nat(), (seed) => expectPlanned(of, seed)),
        { numRuns: 30 },
      );
    });
  }

  test('any model: the same', () => {
    fc.assert(
      fc.property(fc.nat(), numbers, fc.array(column, { maxLength: 4 }), (seed, first, more) => {
        const columns = Object.fromEntries([first, ...more].map((one, at) => [`c${at}`, one]));
        const of = defineModel({
          table: 't',
          topic: 't/{device_id}',
          owner: { constant: 'o' },
          columns,
          extraColumn: 'e',
        });
        expectPlanned(of, seed, 100);
      }),
      { numRuns: 200 },
    );
  });

  test("a model's own rule is the one they breach", () => {
    const { signals } = createSimulation(ticks);
    expect(signals.map(({ key, operator, threshold }) => [key, operator, threshold])).toEqual([
      ['price', '<', 10],
      ['volume', '>', 80],
    ]);
  });

  test('with an owner of all, devices bear the name of the run, whoever they would belong to', () => {
    const simulation = createSimulation(ticks);
    const fleet = { run: 'load_1', users: 3, devicesPerUser: 2, seed: 1, meanCalm: 5, simulation };
    const devices = createDevices({ ...fleet, total: 60 });
    expect(new Set(devices.map(({ topic }) => topic)).size).toBe(6);
    expect(devices[5]).toMatchObject({ userId: 'market', topic: 'ticks/load_1_006', quota: 10 });
    const times = Array.from({ length: 10 }, () => JSON.parse(devices[0]?.next(NOW).payload ?? ''));
    expect(new Set(times.map(({ time }) => time)).size).toBe(10);
    expect(times[0]).not.toHaveProperty('sequence_id');
  });

  test('a model on which no rule could be is refused in words', () => {
    const columns = { note: { type: 'text', nullable: true, maxLength: 10 } } as const;
    const notes = defineModel({
      table: 'notes',
      topic: 'n/{user_id}/{device_id}',
      columns,
      extraColumn: 'e',
    });
    expect(() => createSimulation(notes)).toThrow('no column of "notes" can have a rule');
  });
});
