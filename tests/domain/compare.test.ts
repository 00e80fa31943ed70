import { describe, expect, test } from 'bun:test';
import { comparable, holds } from '../../src/domain/compare.ts';
import { parseJson } from '../../src/domain/json.ts';
import type { Operator, Scalar } from '../../src/domain/rule.ts';
import { story } from '../support/rule-story.ts';

describe('a value holds', () => {
  /** For each operator, whether a value below, at and above the threshold holds. */
  const numbers: [Operator, below: boolean, at: boolean, above: boolean][] = [
    ['>', false, false, true],
    ['<', true, false, false],
    ['>=', false, true, true],
    ['<=', true, true, false],
    ['==', false, true, false],
    ['!=', true, false, true],
  ];
  const triples: [number, number, number][] = [
    [79.9, 80, 80.1],
    [-1, 0, 1],
    [-0.1, -0, 5e-324],
    [-81, -80, -79],
    [2 ** 53 - 1, 2 ** 53, 2 ** 53 + 2],
    [-Number.MAX_VALUE, 1, Number.MAX_VALUE],
  ];
  for (const [operator, ...expected] of numbers) {
    test(`${operator} a number`, () => {
      for (const values of triples) {
        const told = values.map((value) => holds(value, operator, values[1]));
        expect([operator, values, told]).toEqual([operator, values, expected]);
      }
      expect(holds(0, operator, -0)).toBe(holds(-0, operator, 0));
    });
  }

  const others: [Scalar, Operator, Scalar, boolean][] = [
    ['OK', '==', 'OK', true],
    ['ok', '==', 'OK', false],
    ['', '==', '', true],
    ['OK', '!=', 'OK', false],
    ['FAULT', '!=', 'OK', true],
    // Not normalized: one character, and a letter with an accent behind it.
    ['\u00e9', '==', 'e\u0301', false],
    [true, '==', true, true],
    [false, '==', true, false],
    [false, '!=', true, true],
  ];
  for (const [value, operator, threshold, expected] of others) {
    test(`${JSON.stringify(value)} ${operator} ${JSON.stringify(threshold)}: ${expected}`, () => {
      expect(holds(value, operator, threshold)).toBe(expected);
    });
  }
});

describe('what a rule cannot compare', () => {
  const table: [threshold: Scalar, values: unknown[]][] = [
    [80, [undefined, null, '81', '', true, [], [81], {}, Number.NaN, Infinity, -Infinity]],
    [80, [parseJson('1e999'), parseJson('-1e999')]],
    ['81', [undefined, null, 81, true, ['81'], {}, Number.NaN, parseJson('81.00000000000000000')]],
    [true, [undefined, null, 1, 'true', [], {}]],
  ];
  for (const [threshold, values] of table) {
    test(`with ${JSON.stringify(threshold)}`, () => {
      for (const value of values) expect(comparable(value, threshold)).toBeNull();
    });
  }

  test('leaves an alert as it is, open or not', () => {
    const nothing = '2="79" 3=null 4=true 5=[79] 6={"x":79} 7 8=1e999 9=-1e999';
    expect(story({}, `0=81 ${nothing} 10=79`)).toBe('fired 0, cleared 10');
    expect(story({ operator: '<' }, `0=81 ${nothing}`)).toBe('');
    expect(story({ operator: '!=' }, `0=80 ${nothing}`)).toBe('');
  });
});

test('text of any length is compared whole, and remembered only so far', () => {
  const threshold = 'x'.repeat(1_000);
  expect(comparable(threshold, threshold)).toBe(threshold);
  const longer = comparable(`${threshold}${'y'.repeat(60_000)}`, threshold) as string;
  expect(longer).toHaveLength(1_001);
  expect(longer).not.toBe(threshold);
  const cut = comparable(`${'x'.repeat(999)}😀`, threshold) as string;
  expect(cut.isWellFormed()).toBe(true);
});

test('a number longer than a double is compared as its nearest', () => {
  expect(comparable(parseJson('80.00000000000000000001'), 1)).toBe(80);
  expect(story({}, '0=80.00000000000000000001 1=81.00000000000000000001')).toBe('fired 1');
});
