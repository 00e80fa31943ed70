import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { matchesGlob } from '../../src/domain/glob.ts';

/** By definition, on characters. */
function naive([wanted, ...pattern]: string[], name: string[]): boolean {
  if (wanted === undefined) return name.length === 0;
  if (wanted === '*') {
    return naive(pattern, name) || (name.length > 0 && naive([wanted, ...pattern], name.slice(1)));
  }
  const fits = wanted === name[0] || (wanted === '?' && name.length > 0);
  return fits && naive(pattern, name.slice(1));
}

describe('a glob', () => {
  const table: [pattern: string, name: string, matches: boolean][] = [
    ['pump_1', 'pump_1', true],
    ['pump_1', 'pump_11', false],
    ['pump_1', 'PUMP_1', false],
    ['pump_*', 'pump_', true],
    ['pump_*', 'pump', false],
    ['*_1', 'pump_1', true],
    ['p*p*1', 'pump_pump_1', true],
    ['p??p', 'pump', true],
    ['p??p', 'pup', false],
    ['**', '', true],
    ['?', '', false],
    ['?', '😀', true],
    ['??', '😀', false],
    ['*?b', 'a😀b', true],
    ['p.mp', 'pump', false],
    ['[p]ump', 'pump', false],
    ['100%', '100x', false],
    ['a\\*', 'a\\bc', true],
  ];
  for (const [pattern, name, matches] of table) {
    test(`${pattern} ${matches ? 'takes' : 'leaves out'} "${name}"`, () => {
      expect(matchesGlob(pattern, name)).toBe(matches);
    });
  }

  test('says the same as its definition', () => {
    const pattern = fc.array(fc.constantFrom('a', 'b', '*', '*', '?', '😀'), { maxLength: 8 });
    const name = fc.array(fc.constantFrom('a', 'b', '😀', 'é'), { maxLength: 8 });
    fc.assert(
      fc.property(pattern, name, (wanted, given) => {
        expect(matchesGlob(wanted.join(''), given.join(''))).toBe(naive(wanted, given));
      }),
      { numRuns: 5_000 },
    );
  });

  test('made to be slow is not: its steps are bounded', () => {
    const name = 'a'.repeat(256);
    for (const pattern of [`${'*a'.repeat(99)}b`, `${'*'.repeat(199)}b`, `${'*?'.repeat(99)}b`]) {
      let steps = 0;
      const counted = new Proxy(Object(name), {
        get(target, property) {
          steps++;
          const value = target[property];
          return typeof value === 'function' ? value.bind(name) : value;
        },
      });
      expect(matchesGlob(pattern, counted)).toBe(false);
      expect(steps).toBeLessThan(4 * pattern.length * name.length);
    }
  });
});
