import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { Transition } from '../../src/domain/alert.ts';
import type { LogRecord } from '../../src/domain/log.ts';
import { NO_CONTENT, toRuleSet } from '../../src/domain/rule-content.ts';
import { MICROS_PER_SECOND } from '../../src/domain/time.ts';
import { deviceKey } from '../../src/domain/topic.ts';
import {
  addReading,
  coverArrival,
  createBatch,
  shouldFlush,
  transitionSpacingMs,
  waitMs,
} from '../../src/engine/batch.ts';
import type { Decoded } from '../../src/engine/decode.ts';
import { addRecord, type EvaluateContext } from '../../src/engine/evaluate.ts';
import { movedBy } from '../../src/engine/write.ts';
import { model } from '../../src/model.ts';
import type { Watermark } from '../../src/store/watermark.ts';

const POLICY = { maxRows: 10, maxWaitMs: 100 };
const transition = {} as Transition;

function batchOf(records: number, more: { transitions?: number; bytes?: number } = {}) {
  const batch = createBatch();
  batch.records = records;
  batch.openedAtMs = 1_000;
  batch.bytes = more.bytes ?? 0;
  batch.transitions.push(...Array(more.transitions ?? 0).fill(transition));
  return batch;
}

describe('a batch is written', () => {
  const at = (ms: number, recordsBehind = 0) => ({ ms: 1_000 + ms, recordsBehind });
  test('when it is full, old enough or large', () => {
    expect(shouldFlush(batchOf(9), POLICY, at(99))).toBe(false);
    expect(shouldFlush(batchOf(10), POLICY, at(0))).toBe(true);
    expect(shouldFlush(batchOf(1), POLICY, at(100))).toBe(true);
    expect(shouldFlush(batchOf(1, { bytes: 2 ** 20 }), POLICY, at(0))).toBe(false);
    expect(shouldFlush(batchOf(1, { bytes: 2 ** 23 }), POLICY, at(0))).toBe(true);
  });

  test('at once with a transition, but not while much is still to be read', () => {
    expect(shouldFlush(batchOf(1, { transitions: 1 }), POLICY, at(0))).toBe(true);
    expect(shouldFlush(batchOf(1, { transitions: 1 }), POLICY, at(0, 10))).toBe(true);
    expect(shouldFlush(batchOf(1, { transitions: 1 }), POLICY, at(0, 1_000))).toBe(false);
    // Of a change of the rules: nothing will come to fill it.
    expect(shouldFlush(batchOf(0, { transitions: 1 }), POLICY, at(0, 1_000))).toBe(true);
  });

  test('with a transition no sooner than some time after the one before', () => {
    const batch = batchOf(1, { transitions: 1 });
    batch.notBeforeMs = 1_007;
    expect(waitMs(batch, POLICY, at(3))).toBe(4);
    // Far behind it is not for the transition that one waits, and not without a pause either.
    expect(waitMs(batch, POLICY, at(20, 1_000))).toBe(80);
    expect(shouldFlush(batch, POLICY, at(6))).toBe(false);
    expect(shouldFlush(batch, POLICY, at(7))).toBe(true);
    batch.notBeforeMs = 1_500;
    expect(shouldFlush(batch, POLICY, at(100))).toBe(true);
  });

  test('the more transitions a batch held, the longer the next one collects, up to a bound', () => {
    const spacings = [0, 1, 2, 3, 4, 6, 1_000].map((transitions) =>
      transitionSpacingMs(batchOf(1, { transitions })),
    );
    expect(spacings).toEqual([0, 0, 10, 20, 30, 50, 50]);
  });

  test('never while there is nothing in it', () => {
    expect(shouldFlush(batchOf(0), POLICY, at(1e9))).toBe(false);
  });

  test('no later than its wait says', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 300 }), (ms) => {
        const batch = batchOf(1);
        const wait = waitMs(batch, POLICY, at(ms));
        expect(wait).toBeGreaterThanOrEqual(0);
        expect(wait === 0).toBe(shouldFlush(batch, POLICY, at(ms)));
        expect(shouldFlush(batch, POLICY, at(ms + wait))).toBe(true);
      }),
    );
  });
});

test('of readings with one key the first stays, and no two keys are taken for one', () => {
  const name = fc.constantFrom('1', '2', '11', '12', 'a', '1-2');
  const key = fc.record({
    time: fc.constantFrom(1, 11, 2),
    sequenceId: fc.constantFrom(1, 11, 2),
    userId: name,
    deviceId: name,
  });
  fc.assert(
    fc.property(fc.array(key, { maxLength: 60 }), (keys) => {
      const batch = createBatch();
      for (const [offset, one] of keys.entries()) {
        addReading(batch, {
          offset,
          device: deviceKey(one),
          extraText: null,
          reading: { ...one, columns: {}, extra: null },
        });
      }
      const naive = new Map<string, number>();
      for (const [offset, one] of keys.entries()) {
        const text = JSON.stringify(one, ['time', 'sequenceId', 'userId', 'deviceId']);
        if (!naive.has(text)) naive.set(text, offset);
      }
      expect(batch.readings.map(({ offset }) => offset)).toEqual([...naive.values()]);
      expect(batch.readings.length + batch.duplicates).toBe(keys.length);
    }),
  );
});

const context = (more: Partial<EvaluateContext> = {}): EvaluateContext => ({
  partition: 3,
  watermark: 4,
  coveredAt: 0,
  maxClockSkew: 1_000,
  stateOf: () => undefined,
  rules: new Map([['u', toRuleSet({ userId: 'u', version: 1, content: NO_CONTENT, model })]]),
  ...more,
});
const record = (offset: number, arrivalMs = 5): LogRecord => ({
  offset,
  arrivalMs,
  key: null,
  topic: 't',
  value: new Uint8Array(7),
});
const reading = (time: number, sequenceId = time): Decoded => ({
  ok: true,
  topic: 't',
  device: 'u/d',
  extraText: null,
  reading: { time, sequenceId, userId: 'u', deviceId: 'd', columns: {}, extra: null },
});

describe('a record', () => {
  test('at or below the watermark is stored and leaves no other trace', () => {
    const batch = createBatch();
    const given = context();
    addRecord(batch, record(4), reading(1), given);
    expect([batch.readings.length, batch.devices.size, batch.replay]).toEqual([1, 0, true]);
    addRecord(batch, record(5), reading(2), given);
    expect([batch.readings.length, batch.devices.size]).toEqual([2, 1]);
    expect(batch.kinds).toMatchObject({ replay: 1, live: 1 });
  });

  test('moves its device one version on for each batch, however many there are', () => {
    const batch = createBatch();
    const given = context();
    for (const time of [10, 30, 20]) addRecord(batch, record(time), reading(time), given);
    expect(batch.devices.get('u/d')).toMatchObject({
      version: 1,
      newestTime: 30,
      partition: 3,
      firstSeenAt: 5_000,
    });
    // Without a rule there is nothing that it could be too late for.
    expect(batch.kinds).toMatchObject({ live: 3, late: 0 });
    const before = batch.devices.get('u/d');
    const next = createBatch();
    addRecord(next, record(40, 4), reading(40), context({ stateOf: () => before }));
    addRecord(next, record(41, 6), reading(41), context({ stateOf: () => before }));
    expect(next.devices.get('u/d')).toMatchObject({
      version: 2,
      newestTime: 41,
      firstSeenAt: 5_000,
      lastArrivalAt: 6_000,
    });
    expect(before?.version).toBe(1);
  });

  test('of the FUTURE moves no time', () => {
    const batch = createBatch();
    addRecord(batch, record(5), reading(6_001), context());
    expect(batch.devices.get('u/d')?.newestTime).toBeNull();
    addRecord(batch, record(6), reading(6_000), context());
    expect(batch.devices.get('u/d')?.newestTime).toBe(6_000);
  });
});

describe('the flow of the log', () => {
  const START = 1_000_000_000;
  /** Seconds from record to record; a log's clock may go back a little, or stand. */
  const steps = fc.array(
    fc.oneof(
      fc.integer({ min: 0, max: 9 }),
      fc.constantFrom(10, 10.000001, 11, 30),
      fc.integer({ min: -25, max: 0 }),
    ),
    { minLength: 1, maxLength: 30 },
  );
  const arrivalsOf = (all: readonly number[]) => {
    let at = START;
    return all.map((seconds) => {
      at += Math.round(seconds * MICROS_PER_SECOND);
      return at;
    });
  };
  /** The whole log at once. */
  const naive = (arrivals: readonly number[]) => {
    let [coveredAt, flowingSince] = [0, 0];
    for (const arrival of arrivals) {
      if (arrival > coveredAt + 10 * MICROS_PER_SECOND) flowingSince = arrival;
      coveredAt = Math.max(coveredAt, arrival);
    }
    return { offset: arrivals.length - 1, coveredAt, flowingSince };
  };
  /** Covers the records from `from` on, in batches that end where `ends` says. */
  const cover = (
    before: Watermark,
    arrivals: readonly number[],
    { from, ends }: { from: number; ends: readonly boolean[] },
  ) => {
    let watermark = before;
    let batch = createBatch();
    for (let offset = from; offset < arrivals.length; offset++) {
      coverArrival(batch, arrivals[offset] as number);
      batch.lastOffset = offset;
      if (!ends[offset % ends.length] && offset < arrivals.length - 1) continue;
      watermark = movedBy(watermark, batch);
      batch = createBatch();
    }
    return watermark;
  };
  const nowhere: Watermark = { offset: -1, coveredAt: 0, flowingSince: 0 };
  const cuts = fc.array(fc.boolean(), { minLength: 1, maxLength: 30 });

  test('begins anew behind the last interruption, however records are cut into batches', () => {
    fc.assert(
      fc.property(steps, cuts, (all, ends) => {
        const arrivals = arrivalsOf(all);
        expect(cover(nowhere, arrivals, { from: 0, ends })).toEqual(naive(arrivals));
      }),
      { numRuns: 1_000 },
    );
  });

  test('is the same when records are read again, alone or with new ones behind them', () => {
    fc.assert(
      fc.property(steps, cuts, fc.nat(), fc.nat(), (all, ends, a, b) => {
        const arrivals = arrivalsOf(all);
        const covered = 1 + (a % arrivals.length);
        const watermark = naive(arrivals.slice(0, covered));
        const again = { from: b % covered, ends };
        expect(cover(watermark, arrivals.slice(0, covered), again)).toEqual(watermark);
        expect(cover(watermark, arrivals, again)).toEqual(naive(arrivals));
      }),
      { numRuns: 1_000 },
    );
  });

  test('a batch of transitions alone moves nothing', () => {
    const watermark = { offset: 4, coveredAt: START, flowingSince: START };
    expect(movedBy(watermark, createBatch())).toEqual(watermark);
  });

  test('a device arrives by the clock of its partition, which never goes back', () => {
    const batch = createBatch();
    addRecord(batch, record(5, 20), reading(1), context({ coveredAt: 15_000 }));
    expect(batch.devices.get('u/d')?.lastArrivalAt).toBe(20_000);
    addRecord(batch, record(6, 12), reading(2), context({ coveredAt: 15_000 }));
    expect(batch.devices.get('u/d')?.lastArrivalAt).toBe(20_000);
    const next = createBatch();
    addRecord(next, record(7, 12), reading(3), context({ coveredAt: 20_000 }));
    expect(next.devices.get('u/d')?.lastArrivalAt).toBe(20_000);
  });
});
