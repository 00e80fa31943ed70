import { expect, test } from 'bun:test';
import type { AlertEvent } from '../../src/domain/alert.ts';
import { createAlertFlight } from '../../src/engine/alert-flight.ts';

const event = (seq: number, alertId: string) => ({ seq, alertId }) as AlertEvent;
const turn = () => new Promise((resolve) => setImmediate(resolve));

function flightOf(window = 10) {
  const answers = new Map<number, PromiseWithResolvers<void>>();
  const reached: number[] = [];
  const stop = new AbortController();
  const publish = ({ seq }: AlertEvent) => {
    const answer = Promise.withResolvers<void>();
    answers.set(seq, answer);
    return answer.promise;
  };
  const onReached = (seq: number) => reached.push(seq);
  const flight = createAlertFlight(publish, { start: 0, window, onReached, signal: stop.signal });
  const answer = async (seq: number, error?: Error) => {
    if (error) answers.get(seq)?.reject(error);
    else answers.get(seq)?.resolve();
    await turn();
  };
  return { flight, reached, answer, stop, sent: () => [...answers.keys()] };
}

test('nothing waits for another alert; the position is that of all before', async () => {
  const { flight, reached, answer, sent } = flightOf();
  await flight.send(event(1, 'a'));
  await flight.send(event(2, 'b'));
  await flight.send(event(5, 'c'));
  expect(sent()).toEqual([1, 2, 5]);
  await answer(2);
  expect(reached).toEqual([]);
  await answer(1);
  await answer(5);
  expect(reached).toEqual([2, 5]);
});

test("an alert's next event waits for the one before, and a full window for room", async () => {
  const { flight, answer, sent } = flightOf(2);
  await flight.send(event(1, 'a'));
  let isSent = false;
  const again = flight.send(event(2, 'a')).then(() => (isSent = true));
  await turn();
  expect({ isSent, sent: sent() }).toEqual({ isSent: false, sent: [1] });
  await answer(1);
  await again;
  await flight.send(event(3, 'b'));
  const third = flight.send(event(4, 'c'));
  await turn();
  expect(sent()).toEqual([1, 2, 3]);
  await answer(3);
  expect(sent()).toEqual([1, 2, 3]);
  await answer(2);
  await third;
  expect(sent()).toEqual([1, 2, 3, 4]);
});

test('behind a failure nothing is sent; it begins anew behind what was acknowledged', async () => {
  const { flight, reached, answer, sent } = flightOf();
  for (const seq of [1, 2, 3]) await flight.send(event(seq, `alert ${seq}`));
  const { interrupted } = flight;
  await answer(2, new Error('gone'));
  expect(flight.failure).toMatchObject({ seq: 2 });
  expect(interrupted.aborted).toBe(true);
  await flight.send(event(4, 'alert 4'));
  const landing = flight.land();
  await answer(3);
  await answer(1);
  expect(await landing).toBe(1);
  expect(reached).toEqual([1]);
  expect({ failure: flight.failure, aborted: flight.interrupted.aborted }).toEqual({
    failure: null,
    aborted: false,
  });
  expect(sent()).toEqual([1, 2, 3]);
  await flight.send(event(2, 'alert 2'));
  await answer(2);
  expect(reached).toEqual([1, 2]);
});

test('is interrupted when all of it ends', async () => {
  const { flight, stop } = flightOf();
  stop.abort();
  expect(flight.interrupted.aborted).toBe(true);
  expect(await flight.land()).toBe(0);
});
