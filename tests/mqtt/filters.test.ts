import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { createFilterIndex, filterMatches, literalPrefix } from '../../src/mqtt/filters.ts';
import { createFrameGuard } from '../../src/mqtt/frames.ts';

const level = fc.constantFrom('a', 'b', '', '$x', 'é');
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 4 }), fc.boolean())
  .map(([levels, rest]) => [...levels, ...(rest || levels.length === 0 ? ['#'] : [])].join('/'));

test.each([
  ['a/#', 'a', true],
  ['a/#', 'a/b/c', true],
  ['a/+', 'a', false],
  ['+/b', 'a/b', true],
  ['#', '$SYS/x', false],
  ['+/x', '$SYS/x', false],
  ['$SYS/#', '$SYS/x', true],
  ['a', 'a/', false],
])('%p takes in %p: %p', (wanted, name, taken) => {
  expect(filterMatches(wanted, name)).toBe(taken);
});

test('the index finds what matching one by one finds, and forgets what is deleted', () => {
  fc.assert(
    fc.property(fc.array(filter, { maxLength: 12 }), fc.array(topic), (filters, topics) => {
      const index = createFilterIndex<number>();
      for (const [i, wanted] of filters.entries()) index.set(wanted, String(i), i);
      const gone = new Set(filters.keys().filter((i) => i % 3 === 0));
      for (const i of gone) index.delete(filters[i] as string, String(i));
      expect(index.size).toBe(filters.length - gone.size);
      for (const name of topics) {
        const expected = [...filters.keys()].filter(
          (i) => !gone.has(i) && filterMatches(filters[i] as string, name),
        );
        const found = index.match(name);
        expect(found.map(({ value }) => value).sort((a, b) => a - b)).toEqual(expected);
        for (const { filter: wanted, value } of found)
          expect(wanted).toBe(filters[value] as string);
        for (const i of expected)
          expect(name.startsWith(literalPrefix(filters[i] as string))).toBe(true);
      }
    }),
  );
});

test('the frame guard sees each length, however the bytes are cut', () => {
  const length = fc.integer({ min: 0, max: 40_000 });
  fc.assert(
    fc.property(
      fc.array(length, { maxLength: 8 }),
      fc.integer({ min: 1, max: 70_000 }),
      (sizes, cut) => {
        const bytes = Buffer.concat(sizes.map(frame));
        const firstTooLong = sizes.find((size) => size > 20_000) ?? null;
        const guard = createFrameGuard(20_000);
        let found: number | null = null;
        for (let at = 0; at < bytes.length && found === null; at += cut) {
          found = guard.push(bytes.subarray(at, at + cut));
        }
        expect(found).toBe(firstTooLong);
      },
    ),
    { numRuns: 50 },
  );
});

/** A packet with a body of `size` bytes, whose content must not matter. */
function frame(size: number): Buffer {
  const header = [0x30];
  let rest = size;
  do {
    header.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from(header), Buffer.alloc(size, 0xff)]);
}
