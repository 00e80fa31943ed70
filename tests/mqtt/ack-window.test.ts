import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { createAckWindow } from '../../src/mqtt/ack-window.ts';

/** A window with works that the test ends one by one. */
function open(limits: { maxMessages: number; maxBytes: number }) {
  const acknowledged: number[] = [];
  const failures: unknown[] = [];
  const works: PromiseWithResolvers<void>[] = [];
  let rooms = 0;
  const window = createAckWindow({
    ...limits,
    onRoom: () => rooms++,
    onFailure: (error) => failures.push(error),
  });
  const add = (bytes = 1) => {
    const work = Promise.withResolvers<void>();
    const number = works.push(work) - 1;
    window.add(bytes, work.promise, () => acknowledged.push(number));
  };
  return { window, works, acknowledged, failures, add, rooms: () => rooms };
}

test('whatever the order in which works end, acknowledgements are in the order of arrival', async () => {
  const order = fc.nat(12).chain((count) =>
    fc.shuffledSubarray(
      Array.from({ length: count }, (_, i) => i),
      { minLength: count },
    ),
  );
  await fc.assert(
    fc.asyncProperty(order, fc.option(fc.nat(11), { nil: null }), async (ends, failing) => {
      const { window, works, acknowledged, failures, add } = open({
        maxMessages: 50,
        maxBytes: 1e6,
      });
      for (const _ of ends) add();
      const done = new Set<number>();
      let failed = false;
      let expected = 0;
      for (const number of ends) {
        if (number === failing) works[number]?.reject(new Error('no'));
        else works[number]?.resolve();
        failed ||= number === failing;
        done.add(number);
        await Bun.sleep(0);
        // The naive way: count those done from the start, until the first failure.
        while (!failed && done.has(expected)) expected++;
        expect(acknowledged).toEqual(Array.from({ length: expected }, (_, i) => i));
      }
      await window.settled();
      expect(failures.length).toBe(failed ? 1 : 0);
      expect(window.messages).toBe(ends.length - expected);
    }),
    { numRuns: 50 },
  );
});

test('a full window says when it has emptied to a half, by count and by bytes', async () => {
  for (const limits of [
    { maxMessages: 4, maxBytes: 1_000 },
    { maxMessages: 1_000, maxBytes: 40 },
  ]) {
    const { window, works, add, rooms } = open(limits);
    for (let i = 0; i < 4; i++) {
      expect(window.isFull()).toBe(false);
      add(10);
    }
    expect(window.isFull()).toBe(true);
    works[0]?.resolve();
    await works[0]?.promise;
    expect([window.isFull(), rooms()]).toEqual([true, 0]);
    works[1]?.resolve();
    await Bun.sleep(0);
    expect([window.isFull(), rooms(), window.messages, window.bytes]).toEqual([false, 1, 2, 20]);
  }
});
