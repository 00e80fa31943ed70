import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { formatMicros, parseRfc3339 } from '../../src/domain/time.ts';
import { RecordingError, readRecording, readTime } from '../../src/loadtest/recording.ts';
import { episodesInFile, lateRows, numberRules } from '../../src/loadtest/replay-expectation.ts';
import type { RuleSet } from '../../src/loadtest/rule-queries.ts';

const options = {
  timeColumn: 'timestamp',
  columns: [
    { column: 'value', field: 'temperature' },
    { column: 'rpm', field: 'engine.rpm' },
  ],
  latest: parseRfc3339('2026-01-01T00:00:00Z') as number,
};

describe('a recording', () => {
  test('numbers its rows from 1 and keeps its line numbers apart from them', () => {
    const { rows, malformed } = readRecording(
      [
        '\ufefftimestamp,value,rpm,note',
        '2014-01-07 02:55:00,73.967,900,"a, b"',
        'yesterday,1,2,x',
        '2014-01-07 03:00:00,,,x',
        '2014-01-07 03:05:00,1,2',
        '',
        '2014-01-07 03:10:00,hot,2,x',
        '2014-01-07 03:15:00,-1.5e1,7,x',
        '2044-01-07 03:15:00,1,1,x',
        '',
      ].join('\r\n'),
      options,
    );
    expect(rows.map(({ sequenceId, fields }) => ({ sequenceId, fields }))).toEqual([
      { sequenceId: 1, fields: { temperature: 73.967, engine: { rpm: 900 } } },
      { sequenceId: 3, fields: {} },
      { sequenceId: 6, fields: { temperature: -15, engine: { rpm: 7 } } },
    ]);
    expect(formatMicros(rows[0]?.time ?? 0)).toBe('2014-01-07T02:55:00.000Z');
    expect(malformed).toEqual([
      { line: 3, reason: '"yesterday" is no time' },
      { line: 5, reason: '3 cells where the header has 4' },
      { line: 7, reason: 'value is "hot", not a number' },
      { line: 9, reason: '"2044-01-07 03:15:00" is before 2000 or in the future' },
    ]);
  });

  test('without the column that was asked for says which ones it has', () => {
    expect(() => readRecording('time,value\n', options)).toThrow(
      new RecordingError('--time-column: the file has no column "timestamp", it has time, value'),
    );
    expect(() => readRecording('', options)).toThrow(RecordingError);
    expect(() => readRecording('timestamp,value,rpm\n"2014', options)).toThrow(RecordingError);
  });

  test('times without a zone are UTC; zones, fractions and epochs are read', () => {
    const expected = Date.UTC(2014, 0, 7, 2, 55, 0) * 1000;
    for (const text of [
      '2014-01-07 02:55:00',
      '2014-01-07T02:55',
      '2014-01-07T03:55:00+01:00',
      '2014-01-07 02:55:00Z',
      '1389063300',
      '1389063300000',
    ]) {
      expect([text, readTime(text)]).toEqual([text, expected]);
    }
    expect(readTime('2014-01-07 02:55:00.000250')).toBe(expected + 250);
    expect(readTime('1389063300.5')).toBe(expected + 500_000);
    for (const text of ['', '07/01/2014', '2014-13-07', '2014-02-30 00:00:00']) {
      expect([text, readTime(text)]).toEqual([text, null]);
    }
  });
});

describe('alerts straight from a file', () => {
  const device = { userId: 'replay', deviceId: 'machine_1' };
  const cold = { ruleId: 'cold', key: 'temperature', operator: '<' as const, threshold: 20 };
  const recorded = (samples: [seconds: number, value: number | null][]) =>
    samples.map(([seconds, value], index) => ({
      sequenceId: index + 1,
      time: seconds * 1_000_000,
      fields: {},
      values: new Map(value === null ? [] : [['temperature', value]]),
    }));

  test('begin and end where the value crosses; late rows and rows without it are left out', () => {
    const rows = recorded([
      [10, 25],
      [20, 19],
      [15, 30],
      [20, 18],
      [30, null],
      [25, 19],
      [40, 20],
      [50, 3],
    ]);
    expect(episodesInFile(rows, cold, device).map((e) => [e.startedAt, e.resolvedAt])).toEqual([
      [20e6, 40e6],
      [50e6, null],
    ]);
    expect(lateRows(rows)).toBe(2);
  });

  test('are those of the sorted file when nothing is late', () => {
    const values = fc.array(fc.integer({ min: 17, max: 23 }), { maxLength: 80 });
    fc.assert(
      fc.property(values, fc.array(fc.nat({ max: 79 })), (series, backwards) => {
        const onTime: [number, number][] = series.map((value, index) => [index + 100, value]);
        const withLate = onTime.flatMap((sample, index): [number, number][] =>
          backwards.includes(index) ? [sample, [sample[0] - 50, 1]] : [sample],
        );
        const episodes = episodesInFile(recorded(onTime), cold, device);
        const starts = series.filter((v, i) => v < 20 && (series[i - 1] ?? 99) >= 20);
        expect(episodes).toHaveLength(starts.length);
        expect(episodesInFile(recorded(withLate), cold, device)).toEqual(episodes);
      }),
    );
  });

  test('come from the rules in force that compare a number', () => {
    const ruleSet: RuleSet = {
      shorthands: { temperatureMax: 80, pressureMax: null },
      rules: [
        { ruleId: 'a', key: 'battery', operator: '<', threshold: 20 },
        { ruleId: 'b', key: 'state', operator: '==', threshold: 'down' },
        { ruleId: 'c', key: null, operator: null, threshold: null },
      ],
    };
    const rules = numberRules(ruleSet, {
      temperatureMax: { id: 'temperature-max', key: 'temperature', operator: '>' },
      pressureMax: { id: 'pressure-max', key: 'pressure', operator: '>' },
    });
    expect(rules.map((rule) => rule.ruleId)).toEqual(['temperature-max', 'a']);
  });
});
