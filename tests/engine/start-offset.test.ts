import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { startOffset } from '../../src/engine/start-offset.ts';

const at = (offset: number) => ({ offset, coveredAt: 0, flowingSince: 0 });
const offset = fc.integer({ min: 0, max: 30 });
const range = fc
  .tuple(offset, offset)
  .map(([a, b]) => ({ earliest: Math.min(a, b), end: Math.max(a, b) }));
const watermark = fc.integer({ min: -1, max: 30 });
const committed = fc.option(offset, { nil: null });

test.each([
  // watermark, committed, earliest, end -> start, gap, new log
  [-1, null, 0, 0, 0, 0, false],
  [-1, null, 7, 9, 7, 0, false],
  [9, null, 0, 20, 10, 0, false],
  [9, 10, 0, 20, 10, 0, false],
  [9, 10, 0, 10, 10, 0, false],
  // The group was reset, or its last commit is missing: REPLAY.
  [9, 0, 0, 20, 0, 0, false],
  [9, 0, 5, 20, 5, 0, false],
  // The group ran ahead of the database: nothing is left out.
  [9, 15, 0, 20, 10, 0, false],
  [-1, 15, 0, 20, 0, 0, false],
  // Retention took what was not stored yet.
  [9, 10, 12, 20, 12, 2, false],
  [9, null, 20, 20, 20, 10, false],
  // The log ends at or below the watermark.
  [9, 10, 0, 9, 0, 0, true],
  [9, null, 3, 5, 3, 0, true],
  [0, null, 0, 0, 0, 0, true],
])('watermark %p, committed %p, log from %p to %p', (mark, group, earliest, end, ...expected) => {
  const { start, gap, newLog } = startOffset(at(mark), group, { earliest, end });
  expect([start, gap, newLog]).toEqual(expected as never);
});

test('leaves out nothing that is not stored, and begins within the log', () => {
  fc.assert(
    fc.property(watermark, committed, range, (mark, group, log) => {
      const { start, gap, newLog } = startOffset(at(mark), group, log);
      expect(start).toBeGreaterThanOrEqual(log.earliest);
      expect(start).toBeLessThanOrEqual(Math.max(log.end, log.earliest));
      if (newLog) {
        expect([start, gap]).toEqual([log.earliest, 0]);
        expect(log.end).toBeLessThanOrEqual(mark);
        return;
      }
      // Every record that the log still has above the watermark is read.
      expect(start).toBeLessThanOrEqual(Math.max(mark + 1, log.earliest));
      // And from the group's position on, where that is lower.
      if (group !== null) expect(start).toBeLessThanOrEqual(Math.max(group, log.earliest));
      expect(gap > 0).toBe(mark >= 0 && log.earliest > mark + 1);
    }),
  );
});
