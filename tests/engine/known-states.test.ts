import { expect, test } from 'bun:test';
import { NO_MEMORY } from '../../src/domain/alert.ts';
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
  states.committed(batchOf('e'));
  expect(await knows('a')).toBe(true);
  expect(await knows('e')).toBe(true);
  expect(await knows('d')).toBe(false);
  expect(await knows('a')).toBe(false);
});

test('of many more devices it keeps as many as there is room for, the last ones', async () => {
  const room = 50;
  const devices = Array.from({ length: 5_000 }, (_, n) => `d${n}`);
  const batches = () => [createBatch(), undefined] as const;
  let asked = 0;
  // The database has none of them: what is found was kept.
  const query = async () => {
    asked++;
    return [] as never;
  };
  const states = createKnownStates({ query }, { capacity: () => room });
  states.committed(batchOf(...devices));
  const found = await states.before(devices.map(decodedOf), batches());
  expect([...found.keys()]).toEqual(devices.slice(-room).map((device) => `u/${device}`));
  expect(asked).toBe(1);
  // That a device has no state is kept in the same room.
  for (const device of devices.slice(-4 * room))
    await states.before([decodedOf(device)], batches());
  for (const device of devices.slice(-room)) await states.before([decodedOf(device)], batches());
  expect(asked).toBe(1 + 4 * room);
});
