import { expect, test } from 'bun:test';
import { createBroadcastMemory } from '../../src/engine/broadcast-memory.ts';

test('an old broadcast is told from one whose successor is still to come back', () => {
  const memory = createBroadcastMemory();
  expect(memory.cameBack('u', 1)).toBe('unknown');
  memory.sending('u', 4);
  memory.sending('u', 5);
  expect(memory.cameBack('u', 4)).toBe('overtaken');
  expect(memory.cameBack('u', 6)).toBe('unknown');
  expect(memory.cameBack('u', 5)).toBe('newest');
  // Behind the newest it stands in its place.
  expect(memory.cameBack('u', 4)).toBe('unknown');
  expect(memory.cameBack('v', 5)).toBe('unknown');
});

test('of two sent at once in the wrong order the newer counts', () => {
  const memory = createBroadcastMemory();
  memory.sending('u', 6);
  memory.sending('u', 5);
  expect(memory.cameBack('u', 6)).toBe('newest');
  expect(memory.cameBack('u', 5)).toBe('unknown');
});

test('one that may not have arrived is asked for in the database', () => {
  const memory = createBroadcastMemory();
  memory.sending('u', 5);
  memory.failed('u');
  expect(memory.cameBack('u', 4)).toBe('unknown');
});

test('a user is answered 30 times a minute, others as often', () => {
  const memory = createBroadcastMemory();
  const answered = (userId: string, atMs: number) => {
    const counts = { yes: 0, no: 0, 'no again': 0 };
    for (let i = 0; i < 100; i++) counts[memory.mayRestore(userId, atMs)]++;
    return counts;
  };
  // The one `no` is for the log: a user who goes on must not fill it.
  const limited = { yes: 30, no: 1, 'no again': 69 };
  expect(answered('u', 0)).toEqual(limited);
  expect(answered('v', 59_000)).toEqual(limited);
  expect(answered('u', 59_000)).toEqual({ yes: 0, no: 0, 'no again': 100 });
  expect(answered('u', 60_001)).toEqual(limited);
});

test('no more than 20,000 users are remembered', () => {
  const memory = createBroadcastMemory();
  for (let user = 0; user <= 20_000; user++) memory.sending(`u${user}`, 1);
  expect(memory.cameBack('u0', 1)).toBe('unknown');
  expect(memory.cameBack('u1', 1)).toBe('newest');
});
