import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type BacktestEpisode, createDeviceRun, onlyRule } from '../../src/domain/backtest.ts';
import { createBacktestTally } from '../../src/domain/backtest-tally.ts';
import type { Reading } from '../../src/domain/reading.ts';
import type { RuleDraft } from '../../src/domain/rule-fields.ts';
import { zone } from '../../src/domain/zone.ts';
import { model } from '../../src/model.ts';
import { expectedTransitions } from '../support/alert-oracle.ts';

const MINUTE = 60_000_000;
const COMMON = { id: null, message: '{value} on {device_id}', severity: 'INFO' as const };
const hot: RuleDraft = {
  ...COMMON,
  enabled: false,
  key: 'temperature',
  operator: '>',
  threshold: 80,
};
const quiet: RuleDraft = { ...COMMON, enabled: true, noData: 'PT10M' };

function reading(time: number, temperature: number | null, sequenceId = 0): Reading {
  return { time, userId: 'u', deviceId: 'd', sequenceId, columns: { temperature }, extra: null };
}

function run(draft: RuleDraft, readings: Reading[], end: number, quietSince: number | null = null) {
  const episodes: BacktestEpisode[] = [];
  const device = { userId: 'u', deviceId: 'd', quietSince };
  const it = createDeviceRun(onlyRule(draft, 'u', model), device, (one) => episodes.push(one));
  for (const one of readings) it.take(one);
  it.end(end);
  return episodes;
}

/** `[start, end or null]` in minutes. */
const spans = (episodes: BacktestEpisode[]) =>
  episodes.map(({ startedAt, resolvedAt }) => [
    startedAt / MINUTE,
    resolvedAt === null ? null : resolvedAt / MINUTE,
  ]);

const minutes = (...values: (number | null)[]) => values.map((v, n) => reading(n * MINUTE, v));

describe('a rule on values', () => {
  test('tells every episode with what made it fire, though the rule is not enabled', () => {
    expect(run(hot, minutes(20, 85, 90, null, 20, 95), 6 * MINUTE)).toEqual([
      {
        deviceId: 'd',
        startedAt: MINUTE,
        holdingSince: MINUTE,
        resolvedAt: 4 * MINUTE,
        lastSeenAt: 2 * MINUTE,
        value: 85,
        message: '85 on d',
      },
      {
        deviceId: 'd',
        startedAt: 5 * MINUTE,
        holdingSince: 5 * MINUTE,
        resolvedAt: null,
        lastSeenAt: 5 * MINUTE,
        value: 95,
        message: '95 on d',
      },
    ]);
  });

  test('for and clear take the time that they take live', () => {
    const patient = { ...hot, for: 'PT2M', clear: { threshold: 75, for: 'PT1M' } };
    const found = run(patient, minutes(85, 85, 20, 85, 85, 85, 78, 70, 78, 70, 70), 11 * MINUTE);
    expect(spans(found)).toEqual([[5, 10]]);
    expect(found[0]?.holdingSince).toBe(3 * MINUTE);
  });

  test('agrees with the naive version that sees all at once', () => {
    const value = fc.option(fc.integer({ min: 78, max: 83 }), { nil: null });
    fc.assert(
      fc.property(fc.array(value, { maxLength: 60 }), (values) => {
        const readings = minutes(...values);
        const ruleSet = onlyRule(hot, 'u', model);
        const steps = readings.map((one) => ({ reading: one, ruleSet }));
        const expected: (number | null)[][] = [];
        for (const { type, time } of expectedTransitions(steps, 'backtest')) {
          if (type === 'FIRED') expected.push([time / MINUTE, null]);
          else (expected.at(-1) as (number | null)[])[1] = time / MINUTE;
        }
        expect(spans(run(hot, readings, 100 * MINUTE))).toEqual(expected);
      }),
    );
  });
});

describe('a rule on missing data', () => {
  const at = (...times: number[]) => times.map((minute) => reading(minute * MINUTE, 1));
  const cases: [string, number[], number | null, number, (number | null)[][]][] = [
    ['no gap', [0, 5, 10], null, 15, []],
    ['a gap just too short', [0, 9.99], null, 15, []],
    ['a gap just long enough', [0, 10], null, 15, [[10, 10]]],
    ['a gap between readings', [0, 30, 35], null, 40, [[10, 30]]],
    ['a gap up to the end', [0, 5], null, 20, [[15, null]]],
    ['an end too soon', [0, 5], null, 14, []],
    ['a device first heard of in the range', [50], null, 55, []],
    ['a device heard of before', [50], 0, 55, [[10, 50]]],
    ['a device that never came back', [], 0, 60, [[10, null]]],
    ['a device never heard of', [], null, 60, []],
    ['readings of one time', [0, 0, 20, 20], null, 20, [[10, 20]]],
  ];
  test.each(cases)('%s', (_, times, quietSince, end, expected) => {
    const since = quietSince === null ? null : quietSince * MINUTE;
    expect(spans(run(quiet, at(...times), end * MINUTE, since))).toEqual(expected);
  });

  test('tells since when nothing had come', () => {
    expect(run(quiet, at(5, 30), 31 * MINUTE)).toMatchObject([
      { holdingSince: 5 * MINUTE, value: null, message: 'PT10M on d' },
    ]);
  });
});

describe('the tally', () => {
  const episode = (from: number, to: number | null, deviceId = 'd'): BacktestEpisode => ({
    ...{ deviceId, startedAt: from, holdingSince: from, resolvedAt: to, lastSeenAt: from },
    ...{ value: 1, message: 'm' },
  });
  const local = (text: string) => Date.parse(text) * 1_000;

  test('splits what fires over midnight by the days of the zone, an hour lost included', () => {
    const berlin = zone('Europe/Berlin');
    if (berlin === null) throw new Error('no zone');
    const end = local('2026-03-30T02:00:00+02:00');
    const tally = createBacktestTally({ zone: berlin, end: () => end, maxEpisodes: 10 });
    tally.add(episode(local('2026-03-28T22:00:00+01:00'), local('2026-03-29T06:00:00+02:00')));
    tally.add(episode(local('2026-03-29T23:00:00+02:00'), null));
    const hour = 60 * MINUTE;
    expect(tally.result()).toMatchObject({
      episodeCount: 2,
      firingAtEnd: 1,
      firing: 10 * hour,
      days: [
        { day: '2026-03-28', count: 1, firing: 2 * hour },
        { day: '2026-03-29', count: 1, firing: 6 * hour },
        { day: '2026-03-30', count: 0, firing: 2 * hour },
      ],
    });
  });

  test('counts all and keeps the first, by device and start', () => {
    const utc = zone('UTC');
    if (utc === null) throw new Error('no zone');
    const tally = createBacktestTally({ zone: utc, end: () => 0, maxEpisodes: 3 });
    for (const [at, device] of [
      [9, 'b'],
      [5, 'a'],
      [3, 'b'],
      [1, 'a'],
    ] as const) {
      tally.add(episode(at, at + 1, device));
    }
    const { episodes, episodeCount, days } = tally.result();
    expect(episodes.map(({ deviceId, startedAt }) => `${deviceId}${startedAt}`)).toEqual([
      'a5',
      'b3',
      'b9',
    ]);
    expect(episodeCount).toBe(4);
    expect(days).toEqual([{ day: '1970-01-01', count: 4, firing: 4 }]);
  });
});
