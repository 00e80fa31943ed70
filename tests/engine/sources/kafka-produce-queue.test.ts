import { expect, test } from 'bun:test';
import fc from 'fast-check';
import {
  createProduceQueue,
  type Round,
  type RoundLimits,
} from '../../../src/engine/sources/kafka-produce-queue.ts';

const NO_LIMITS: RoundLimits = { maxPartitionBytes: 1e9, maxBytes: 1e9, maxRecords: 1e9 };

function message(partition: number, n: number, bytes = 10) {
  const value = new Uint8Array(bytes);
  const nothing = () => {};
  return {
    message: { topic: '', key: String(n), value },
    partition,
    resolve: nothing,
    reject: nothing,
  };
}

const keysOf = (round: Round) => round.map((waiting) => waiting.message.key);

test('a partition has one round under way, whatever is added meanwhile', () => {
  const queue = createProduceQueue();
  queue.add(message(0, 1));
  queue.add(message(1, 2));
  const first = queue.take(NO_LIMITS);
  queue.add(message(0, 3));
  queue.add(message(2, 4));
  expect(keysOf(queue.take(NO_LIMITS))).toEqual(['4']);
  expect(queue.take(NO_LIMITS)).toEqual([]);
  expect(queue.size()).toBe(1);
  queue.release(first);
  expect(keysOf(queue.take(NO_LIMITS))).toEqual(['3']);
});

test('limits hold, save that one message always goes', () => {
  const queue = createProduceQueue();
  queue.add(message(0, 1, 5_000));
  for (let n = 2; n < 8; n++) queue.add(message(0, n, 300));
  const small: RoundLimits = { maxPartitionBytes: 1_000, maxBytes: 1_000, maxRecords: 10 };
  const sizes: number[] = [];
  for (let round = queue.take(small); round.length > 0; round = queue.take(small)) {
    sizes.push(round.length);
    queue.release(round);
  }
  expect(sizes).toEqual([1, 2, 2, 2]);
});

test('everything is taken once, in order by partition, in whatever rounds', () => {
  const step = fc.oneof(
    fc.record({ add: fc.nat(3), bytes: fc.nat(400) }),
    fc.record({ take: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ release: fc.nat(9) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const queue = createProduceQueue();
      const underWay: Round[] = [];
      const taken: Round = [];
      const limits = { maxPartitionBytes: 500, maxBytes: 900 };
      const take = (maxRecords: number) => {
        const round = queue.take({ ...limits, maxRecords });
        for (const { partition } of round) {
          const busy = underWay.some((other) => other.some((one) => one.partition === partition));
          expect(busy).toBe(false);
        }
        expect(round.length).toBeLessThanOrEqual(maxRecords);
        if (round.length > 0) underWay.push(round);
        taken.push(...round);
        return round.length;
      };
      let added = 0;
      for (const one of steps) {
        if ('add' in one) queue.add(message(one.add, added++, one.bytes));
        else if ('take' in one) take(one.take);
        else queue.release(underWay.splice(one.release, 1)[0] ?? []);
      }
      do {
        for (const round of underWay.splice(0)) queue.release(round);
      } while (take(5) > 0);
      expect(queue.size()).toBe(0);
      expect(taken.length).toBe(added);
      for (const partition of [0, 1, 2, 3]) {
        const keys = keysOf(taken.filter((one) => one.partition === partition)).map(Number);
        expect(keys).toEqual(keys.toSorted((a, b) => a - b));
      }
    }),
  );
});
