import { expect, test } from 'bun:test';
import { createPace } from '../../src/schema/pace.ts';
import { until } from './support.ts';

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

test('a lone event goes at once, to however many', async () => {
  const pace = createPace({ eachMs: 1_000, maxMs: 60_000 });
  for (let n = 0; n < 1_000; n++) expect(pace.turn()).toBeUndefined();
  await nextTurn();
  expect(pace.turn()).toBeInstanceOf(Promise);
});

test('behind a pass of many all wait for the same moment, and go together', async () => {
  const pace = createPace({ eachMs: 1, maxMs: 60_000 });
  for (let n = 0; n < 50; n++) void pace.turn();
  await nextTurn();
  const order: number[] = [];
  const turns = Array.from({ length: 20 }, (_, n) => pace.turn()?.then(() => order.push(n)));
  expect(turns.every((turn) => turn !== undefined)).toBe(true);
  await Promise.all(turns);
  expect(order).toEqual(Array.from({ length: 20 }, (_, n) => n));
  // Who asks while these go goes along.
  expect(pace.turn()).toBeUndefined();
});

test('the pause is over by itself, and no longer than is allowed', async () => {
  const pace = createPace({ eachMs: 60_000, maxMs: 5 });
  for (let n = 0; n < 1_000; n++) void pace.turn();
  await nextTurn();
  await pace.turn();
  await nextTurn();
  await until(() => pace.turn() === undefined, 20_000);
});

test('who waited counts for the next pause', async () => {
  const pace = createPace({ eachMs: 20, maxMs: 60_000 });
  void pace.turn();
  await nextTurn();
  const waiting = Array.from({ length: 100 }, () => pace.turn());
  const openedAt = performance.now();
  await Promise.all(waiting);
  await nextTurn();
  await pace.turn();
  expect(performance.now() - openedAt).toBeGreaterThanOrEqual(1_990);
}, 30_000);
