import { expect, test } from 'bun:test';
import { DeadlineError, withDeadline } from '../../src/engine/retry.ts';

const never = new Promise<never>(() => {});

test('what is done in time is given, and what fails in time fails as it did', async () => {
  expect(await withDeadline(Promise.resolve(1), 10_000, 'it')).toBe(1);
  const error = new Error('no');
  await expect(withDeadline(Promise.reject(error), 10_000, 'it')).rejects.toBe(error);
});

test('gives up at its deadline, and when it is abandoned', async () => {
  await expect(withDeadline(never, 5, 'it')).rejects.toThrow('it took over 5 ms');
  const abandon = new AbortController();
  const waiting = withDeadline(never, 10_000, 'it', abandon.signal);
  abandon.abort();
  await expect(waiting).rejects.toBeInstanceOf(DeadlineError);
  await expect(withDeadline(never, 10_000, 'it', abandon.signal)).rejects.toThrow('was given up');
  // What is done is done, though nobody may wait any more.
  expect(await withDeadline(Promise.resolve(1), 10_000, 'it', abandon.signal)).toBe(1);
});

test('leaves nothing behind at the signal, and nothing unhandled', async () => {
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    listeners.add(args[1]);
    addEventListener.apply(signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    listeners.delete(args[1]);
    removeEventListener.apply(signal, args);
  };
  const late = Promise.withResolvers<never>();
  await withDeadline(late.promise, 1, 'it', signal).catch(() => {});
  late.reject(new Error('after all'));
  await withDeadline(Promise.resolve(), 10_000, 'it', signal);
  await withDeadline(Promise.reject(new Error('no')), 10_000, 'it', signal).catch(() => {});
  expect(listeners.size).toBe(0);
});
