import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { createDevices } from '../../src/loadtest/devices.ts';
import { createPacer } from '../../src/loadtest/pacer.ts';
import { createSimulation } from '../../src/loadtest/simulation.ts';
import { model } from '../../src/model.ts';

const simulation = createSimulation(model);
const fleet = { run: 'load_1', users: 3, devicesPerUser: 4, seed: 1, meanCalm: 5, simulation };

test('the quotas add up to the total and differ by one at most', () => {
  fc.assert(
    fc.property(fc.nat({ max: 1000 }), (total) => {
      const quotas = createDevices({ ...fleet, total }).map((device) => device.quota);
      expect(quotas.reduce((sum, quota) => sum + quota, 0)).toBe(total);
      expect(Math.max(...quotas) - Math.min(...quotas)).toBeLessThanOrEqual(1);
    }),
  );
});

test('topics are distinct and none is the beginning of another', () => {
  const topics = createDevices({ ...fleet, total: 0 }).map((device) => device.topic);
  expect(new Set(topics).size).toBe(12);
  expect(topics[0]).toBe('users/load_1_0001/devices/device_001/telemetry');
  for (const topic of topics) {
    expect(topics.filter((other) => other.startsWith(topic))).toHaveLength(1);
  }
});

test('times strictly increase when the clock stands still or steps back', () => {
  const [device] = createDevices({ ...fleet, total: 100 });
  const clock = [5_000_000, 5_000_000, 4_000_000, 6_000_000];
  const times = clock.map((now) => {
    const { sequenceId, payload } = device?.next(now) ?? { sequenceId: 0, payload: '' };
    expect(JSON.parse(payload).sequence_id).toBe(sequenceId);
    return JSON.parse(payload).time;
  });
  expect(times).toEqual([
    '1970-01-01T00:00:05.000Z',
    '1970-01-01T00:00:05.000001Z',
    '1970-01-01T00:00:05.000002Z',
    '1970-01-01T00:00:06.000Z',
  ]);
});

test('the pacer sends all, at the rate, and makes up for a pause only so far', () => {
  const pacer = createPacer({ startMs: 0, rate: 100, total: 300, maxBehind: 50 });
  expect(pacer.due(0, 0)).toBe(0);
  expect(pacer.due(100, 0)).toBe(10);
  expect(pacer.due(100, 10)).toBe(0);
  // Two seconds away: 50 at once, then again 100 a second.
  expect(pacer.due(2100, 10)).toBe(50);
  expect(pacer.due(2100, 60)).toBe(0);
  expect(pacer.due(2200, 60)).toBe(10);
  expect(pacer.due(100_000, 290)).toBe(10);
  expect(pacer.due(100_000, 300)).toBe(0);
});

test('the pacer never gives more than there is, whatever the clock does', () => {
  const steps = fc.array(fc.nat({ max: 500 }), { maxLength: 200 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 5000 }), (pauses, rate) => {
      const pacer = createPacer({ startMs: 0, rate, total: 1000, maxBehind: 100 });
      let now = 0;
      let sent = 0;
      for (const pause of pauses) {
        now += pause;
        const due = pacer.due(now, sent);
        expect(due).toBeGreaterThanOrEqual(0);
        expect(due).toBeLessThanOrEqual(100);
        sent += due;
        expect(sent).toBeLessThanOrEqual(Math.min(1000, Math.floor((now * rate) / 1000)));
      }
      while (sent < 1000) {
        now += 500;
        sent += pacer.due(now, sent);
      }
      expect(sent).toBe(1000);
    }),
  );
});
