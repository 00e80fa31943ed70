import { expect, test } from 'bun:test';
import { createRate } from '../../src/mqtt/rate.ts';

function clocked(perSecond: number, patienceMs: number) {
  let nowMs = 0;
  let ended = 0;
  const rate = createRate({
    ...{ perSecond, patienceMs, now: () => nowMs, onRoom: () => {} },
    onAbuse: () => ended++,
  });
  return {
    rate,
    ended: () => ended,
    pass(ms: number) {
      nowMs += ms;
    },
    send(messages: number) {
      for (let i = 0; i < messages; i++) rate.take();
    },
  };
}

test('a burst is taken in and paid for, then there is room again', () => {
  const { rate, pass, send, ended } = clocked(100, 10_000);
  send(100);
  expect(rate.isOver()).toBeFalse();
  send(50);
  expect(rate.isOver()).toBeTrue();
  pass(490);
  expect(rate.isOver()).toBeTrue();
  pass(20);
  expect(rate.isOver()).toBeFalse();
  expect(ended()).toBe(0);
  rate.close();
});

test('who pushes on is ended once, who pauses in between is not', () => {
  const pushing = clocked(100, 10_000);
  const pausing = clocked(100, 10_000);
  for (let second = 0; second < 30; second++) {
    for (const { rate, send, pass } of [pushing, pausing]) {
      send(150);
      rate.isOver();
      pass(1_000);
      rate.isOver();
    }
    if (second % 5 === 0) pausing.pass(5_000);
  }
  expect([pushing.ended(), pausing.ended()]).toEqual([1, 0]);
  pushing.rate.close();
  pausing.rate.close();
});
