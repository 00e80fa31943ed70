import { expect, test } from 'bun:test';
import { replaceSection } from '../../bench/report.ts';
import type { Row, Suite } from '../../bench/suite.ts';
import { makeRecords, makeRules } from '../../bench/workload.ts';
import { parseConfig } from '../../src/domain/rule-config.ts';
import { model } from '../../src/model.ts';

const suite: Suite = {
  name: 'copy',
  title: 'COPY alone',
  about: 'What it is.',
  columns: [
    { key: 'rate', title: 'rows/s' },
    { key: 'ratio', title: 'of the ceiling', digits: 2 },
  ],
  cases: ['one'],
  async *measure() {},
};
const machine = {
  ...{ cores: 2, cpu: 'a CPU', memoryGiB: 24, system: 'linux', bun: '1.4', postgres: '18.4' },
  ...{ kafka: null, fsync: { p50: 0.2, p99: 1.5 }, load: 7.5 },
};
const around = { rounds: 3, records: 200_000, quick: false, soakMinutes: 5 };

test('a table takes the place of the earlier one, and nothing else changes', () => {
  const text = 'before\n<!-- bench:copy -->\nold\n<!-- /bench:copy -->\nafter\n';
  const rows: Row[] = [
    { name: 'one', rate: 123_456.7, ratio: 0.4 },
    { name: 'two', note: 'not here' },
  ];
  const replaced = replaceSection(text, { suite, rows }, { machine, around });
  expect(replaced).toContain('| one | 123,457 | 0.40 |\n| two | not here |  |');
  expect(replaced).toContain('Load when the run began: 7.5.');
  expect(replaced).not.toContain('old');
  expect(replaced.startsWith('before\n<!-- bench:copy -->\n### COPY alone')).toBe(true);
  expect(replaced.endsWith('<!-- /bench:copy -->\nafter\n')).toBe(true);
});

test('a table without a place in the document is refused', () => {
  const write = () => replaceSection('', { suite, rows: [] }, { machine, around });
  expect(write).toThrow('needs <!-- bench:copy -->');
});

test('the workload switches one reading in a thousand, and its rules are valid', () => {
  const fleet = { name: '', users: 30, devices: 90, transitionShare: 0.001, redeliveredShare: 0 };
  const records = makeRecords({ ...fleet, records: 90_000 });
  // Each device once in a thousand readings; the first one has still to come to it.
  expect(records.filter(({ isTransition }) => isTransition)).toHaveLength(89);
  for (const count of [0, 5, 50]) {
    const rules = makeRules(count);
    expect(rules).toHaveLength(count);
    expect(parseConfig({ rules }, model).ok).toBe(true);
  }
});
