import { expect, test } from 'bun:test';
import type { RuleMemory, RuleState } from '../../src/domain/alert.ts';
import { evaluate } from '../../src/domain/reducer.ts';
import { forgetTimes } from '../../src/domain/reset-clock.ts';
import { toRuleSet } from '../../src/domain/rule-content.ts';
import { model } from '../../src/model.ts';

const episode = { alertId: 'a', lastSeenAt: 900 };
const seen = { time: 1_000, sequenceId: 9, measures: 'temperature >' };
const cases: [string, RuleState, RuleState | undefined][] = [
  ['calm', { ...seen, episode: null }, undefined],
  ['pending', { ...seen, since: 800, value: 90, episode: null }, undefined],
  [
    'firing',
    { ...seen, value: 90, episode },
    { time: 0, sequenceId: -1, measures: seen.measures, episode },
  ],
  [
    'clearing',
    { ...seen, since: 950, value: 70, episode },
    { time: 0, sequenceId: -1, measures: seen.measures, episode },
  ],
  [
    'silent',
    { time: 5, sequenceId: -1, measures: 'silence', episode },
    { time: 5, sequenceId: -1, measures: 'silence', episode },
  ],
];

test.each(cases)('a rule that is %s forgets what it saw', (_, before, after) => {
  const memory: RuleMemory = {
    version: 3,
    rules: { r: before },
    late: { readings: 4, time: 500, sequenceId: 2 },
  };
  expect(forgetTimes(memory)).toEqual({ version: 3, rules: after ? { r: after } : {} });
});

test('after it a hold to clear begins with the next reading, also under an edited rule', () => {
  const hot = { id: 'r', key: 'temperature', operator: '>' as const, threshold: 80 };
  const rule = { ...hot, message: 'm', severity: 'INFO' as const, enabled: true };
  const ruleSet = (version: number, threshold: number) =>
    toRuleSet({
      userId: 'u',
      version,
      content: {
        shorthands: {},
        rules: [{ ...rule, threshold, clear: { threshold, for: 'PT5M' } }],
      },
      model,
    });
  const before: RuleMemory = { version: 1, rules: { r: { ...seen, value: 90, episode } } };
  const at = (minute: number) => ({
    time: minute * 60_000_000,
    userId: 'u',
    deviceId: 'd',
    sequenceId: 1,
    columns: { temperature: 90 },
    extra: null,
  });
  const evidence = { partition: 0, offset: 0, arrival: 0 };
  const first = evaluate(forgetTimes(before), at(1), ruleSet(2, 100), evidence);
  expect(first).toMatchObject({ late: 0, transitions: [] });
  expect(evaluate(first.memory, at(5), ruleSet(2, 100), evidence).transitions).toEqual([]);
  const cleared = evaluate(first.memory, at(6), ruleSet(2, 100), evidence);
  expect(cleared.transitions).toMatchObject([{ type: 'RESOLVED', reason: 'CLEARED' }]);
});
