import { expect, test } from 'bun:test';
import fc from 'fast-check';
// @ts-expect-error: kafkajs has no types for its inner files
import murmur2 from 'kafkajs/src/producer/partitioners/default/murmur2.js';
import { partitionOf } from '../../../src/engine/sources/partitioner.ts';

test('a key has the partition that Kafka gives it', () => {
  const key = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.tuple(fc.nat(1e6), fc.nat(1e6)).map(([user, device]) => `user_${user}/device_${device}`),
  );
  fc.assert(
    fc.property(key, fc.integer({ min: 1, max: 64 }), (text, partitions) => {
      expect(partitionOf(text, partitions)).toBe((murmur2(text) & 0x7fffffff) % partitions);
    }),
    { numRuns: 2_000 },
  );
});
