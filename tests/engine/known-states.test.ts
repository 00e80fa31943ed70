import { expect, test } from 'bun:test';
import { NO_MEMORY, type RuleMemory } from '../../src/domain/alert.ts';
import { type Batch, createBatch } from '../../src/engine/batch.ts';
import type { Decoded } from '../../src/engine/decode.ts';
import { createKnownStates } from '../../src/engine/known-states.ts';

const batchOf = (...deviceIds: string[]): Batch => {
  const batch = createBatch();
  for (const deviceId of deviceIds) {
    batch.devices.set(`u/${deviceId}`, {
      userId: 'u',
      deviceId,
      partition: 0,
      version: 1,
      firstSeenAt: 0,
      newestTime: null,
      lastArrivalAt: 0,
      memory: NO_MEMORY,
    });
  }
  return batch;
};
const decodedOf = (deviceId: string): Decoded => ({
  ok: true,
  topic: '',
  device: `u/${deviceId}`,
  extraText: null,
  reading: { time: 0, sequenceId: 0, userId: 'u', deviceId, columns: {}, extra: null },
});

test('the least recently written go first, also where the room became less', async () => {
  let room = 4;
  let asked = 0;
  const query = async () => {
    asked++;
    return [] as never;
  };
  const states = createKnownStates({ query }, { capacity: () => room });
  const knows = async (device: string) => {
    const before = asked;
    await states.before([decodedOf(device)], [createBatch(), undefined]);
    return asked === before;
  };
  states.committed(batchOf('a', 'b', 'c', 'd'));
  states.committed(batchOf('a'));
  expect(await knows('b')).toBe(true);
  room = 2.5;
  states.committed(batchOf('d'));
  expect(await knows('a')).toBe(true);
  expect(await knows('d')).toBe(true);
  expect(await knows('b')).toBe(false);
  expect(await knows('c')).toBe(false);
});

test('of more devices than there is room for, in turn, nearly as many are known as there is room', async () => {
  const room = 50;
  const devices = Array.from({ length: 2 * room }, (_, n) => `d${n}`);
  let asked = 0;
  const query = async () => {
    asked++;
    return [] as never;
  };
  const states = createKnownStates({ query }, { capacity: () => room });
  const round = async () => {
    const before = asked;
    for (const device of devices) {
      await states.before([decodedOf(device)], [createBatch(), undefined]);
      states.committed(batchOf(device));
    }
    return devices.length - (asked - before);
  };
  expect(await round()).toBe(0);
  for (let n = 0; n < 10; n++) expect(await round()).toBeGreaterThan(0.6 * room);
  // One batch with all of them leaves no more than there is room for.
  states.committed(batchOf(...devices));
  const before = asked;
  for (const device of devices)
    await states.before([decodedOf(device)], [createBatch(), undefined]);
  expect(asked - before).toBeGreaterThanOrEqual(devices.length - room);
});

test('of devices with many rules fewer are known, but never less than the least', async () => {
  const rules = Object.fromEntries(
    Array.from({ length: 50 }, (_, n) => [
      `rule-${n}`,
      { time: 0, sequenceId: 0, measures: 'a >' },
    ]),
  );
  const heavy = (device: string): Batch => {
    const batch = batchOf(device);
    for (const state of batch.devices.values()) {
      state.memory = { version: 1, rules: rules as unknown as RuleMemory['rules'] };
    }
    return batch;
  };
  for (const [least, expected] of [
    [0, 10],
    [25, 25],
  ] as const) {
    const states = createKnownStates(
      { query: async () => [] as never },
      { capacity: () => 100, least },
    );
    // More than there is room for, until it has seen how many rules a device has; then once more.
    for (let n = 0; n < 1_000; n++) states.committed(heavy(`d${n % 200}`));
    const devices = Array.from({ length: 200 }, (_, n) => decodedOf(`d${n}`));
    const known = await states.before(devices, [createBatch(), undefined]);
    expect(known.size).toBeGreaterThanOrEqual(expected);
    expect(known.size).toBeLessThanOrEqual(expected + 1);
  }
});
