import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { createDevices, type Device, expect as expectation } from '../../src/loadtest/devices.ts';
import { createLedger } from '../../src/loadtest/ledger.ts';
import { createSimulation } from '../../src/loadtest/simulation.ts';
import {
  compareAlerts,
  compareReadings,
  compareTransitions,
  type Expectation,
  type ReceivedTransition,
  type StoredAlert,
} from '../../src/loadtest/verdict.ts';
import { model } from '../../src/model.ts';

const RULE_IDS = ['temperature-max', 'low-battery', 'overpressure', 'overspeed', 'vibration-gte'];
const NOW = 1_700_000_000_000_000;

function publishedLedger(count: number, acknowledged: (sequenceId: number) => boolean) {
  const ledger = createLedger(count);
  for (let at = 1; at <= count; at++) {
    ledger.publish(NOW + at);
    if (acknowledged(at)) ledger.acknowledge(at);
  }
  return ledger;
}

describe('compareReadings', () => {
  test('readings without a sequence id are told apart by time', () => {
    const ledger = publishedLedger(5, () => true);
    const at = (time: number) => ({ sequenceId: null, time });
    const rows = [1, 3, 3, 4, 9].map((offset) => at(NOW + offset));
    expect(compareReadings(ledger, rows)).toMatchObject({
      stored: 3,
      lost: [2, 5],
      duplicated: [3],
      foreign: [0],
    });
    expect(compareReadings(createLedger(2), [at(0)])).toMatchObject({ stored: 0, foreign: [0] });
  });

  test('counts like sets and bags do, whatever is stored', () => {
    const stored = fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 60 });
    fc.assert(
      fc.property(stored, fc.uniqueArray(fc.integer({ min: 1, max: 30 })), (ids, acknowledged) => {
        const ledger = publishedLedger(30, (id) => acknowledged.includes(id));
        const verdict = compareReadings(
          ledger,
          ids.map((sequenceId) => ({ sequenceId, time: NOW + sequenceId })),
        );
        const distinct = new Set(ids);
        expect(verdict.stored).toBe(distinct.size);
        expect(verdict.lost).toEqual(
          acknowledged.filter((id) => !distinct.has(id)).sort((a, b) => a - b),
        );
        expect(new Set(verdict.duplicated)).toEqual(
          new Set(ids.filter((id, index) => ids.indexOf(id) !== index)),
        );
        expect(verdict.storedUnacknowledged).toBe(
          [...distinct].filter((id) => !acknowledged.includes(id)).length,
        );
        expect(verdict.foreign).toEqual([]);
      }),
    );
  });

  test('a dead letter is not lost', () => {
    const ledger = publishedLedger(3, () => true);
    const rows = [{ sequenceId: 1, time: NOW + 1 }];
    expect(compareReadings(ledger, rows, new Set([2]))).toMatchObject({ stored: 1, lost: [3] });
  });

  test('another time, or a number never published, is not the published reading', () => {
    const ledger = publishedLedger(2, () => true);
    const rows = [
      { sequenceId: 1, time: NOW + 1 },
      { sequenceId: 2, time: NOW + 3 },
      { sequenceId: 9, time: NOW + 9 },
    ];
    expect(compareReadings(ledger, rows)).toMatchObject({ stored: 2, lost: [], foreign: [2, 9] });
  });
});

function publishAll(devices: Device[], acknowledge: (device: Device, id: number) => boolean): void {
  for (const device of devices) {
    for (let count = 0; count < device.quota; count++) {
      const { sequenceId } = device.next(NOW);
      if (acknowledge(device, sequenceId)) device.ledger.acknowledge(sequenceId);
    }
  }
}

function fleetExpectation(acknowledge: (device: Device, id: number) => boolean = () => true) {
  const devices = createDevices({
    run: 'load',
    users: 2,
    devicesPerUser: 2,
    seed: 3,
    meanCalm: 6,
    total: 403,
    simulation: createSimulation(model),
  });
  publishAll(devices, acknowledge);
  return expectation(devices, RULE_IDS);
}

function storedAs({ required }: Expectation): StoredAlert[] {
  return required.map((episode, index) => ({
    ...episode,
    id: `alert ${index}`,
    events: episode.resolvedAt === null ? ['FIRED'] : ['FIRED', 'RESOLVED'],
  }));
}

function receivedAs(alerts: readonly StoredAlert[]): ReceivedTransition[] {
  return alerts.flatMap(({ startedAt, resolvedAt, ...alert }) => {
    const fired = { ...alert, id: `${alert.id} F`, type: 'FIRED' as const, time: startedAt };
    if (resolvedAt === null) return [fired];
    return [fired, { ...alert, id: `${alert.id} R`, type: 'RESOLVED' as const, time: resolvedAt }];
  });
}

const all = fleetExpectation();
const alerts = storedAs(all);
const clean = { missed: [], false: [], doubled: [] };
const anyAlert = fc.nat({ max: alerts.length - 1 });

describe('compareAlerts', () => {
  test('finds nothing wrong where all is as expected', () => {
    expect(alerts.length).toBeGreaterThan(20);
    expect(compareAlerts(all, alerts)).toMatchObject({ received: alerts.length, ...clean });
  });

  test('tells a missed, a false and a doubled one', () => {
    fc.assert(
      fc.property(anyAlert, (at) => {
        const alert = alerts[at] as StoredAlert;
        const missing = compareAlerts(all, alerts.toSpliced(at, 1));
        expect(missing).toMatchObject({ received: alerts.length - 1, false: [], doubled: [] });
        expect(missing.missed).toHaveLength(1);

        const twice = compareAlerts(all, [...alerts, { ...alert, id: 'again' }]);
        expect(twice).toMatchObject({ missed: [], false: [] });
        expect(twice.doubled).toHaveLength(1);

        const stray = { ...alert, startedAt: alert.startedAt + 1 };
        expect(compareAlerts(all, [...alerts, stray]).false).toHaveLength(1);
        const elsewhere = { ...alert, ruleId: 'no-such-rule' };
        expect(compareAlerts(all, [...alerts, elsewhere]).false).toHaveLength(1);
      }),
    );
  });

  test('tells another end, a missing event and an event too many', () => {
    fc.assert(
      fc.property(anyAlert, (at) => {
        const alert = alerts[at] as StoredAlert;
        const end = { ...alert, resolvedAt: (alert.resolvedAt ?? NOW) + 7 };
        expect(compareAlerts(all, alerts.with(at, end)).missed).toHaveLength(1);
        const silent = { ...alert, events: alert.events.filter((type) => type !== 'FIRED') };
        expect(compareAlerts(all, alerts.with(at, silent)).missed).toHaveLength(1);
        const loud = { ...alert, events: [...alert.events, 'FIRED'] };
        expect(compareAlerts(all, alerts.with(at, loud)).doubled).toHaveLength(1);
      }),
    );
  });
});

describe('compareTransitions', () => {
  const received = receivedAs(alerts);

  test('finds nothing wrong where all is as expected, in any order', () => {
    const verdict = compareTransitions(all, received.toReversed());
    expect(verdict).toMatchObject({ received: received.length, redelivered: 0, ...clean });
  });

  test('tells missed, false and doubled ones, and a redelivery from a second one', () => {
    fc.assert(
      fc.property(fc.nat({ max: received.length - 1 }), (at) => {
        const one = received[at] as ReceivedTransition;
        expect(compareTransitions(all, received.toSpliced(at, 1)).missed).toHaveLength(1);
        const stray = { ...one, deviceId: 'device_999' };
        expect(compareTransitions(all, [...received, stray]).false).toHaveLength(1);
        const second = { ...one, id: 'another seq' };
        expect(compareTransitions(all, [...received, second]).doubled).toHaveLength(1);
        const again = compareTransitions(all, [...received, one]);
        expect(again).toMatchObject({ redelivered: 1, ...clean });
      }),
    );
  });
});

describe('what must be alerted', () => {
  test('leaves open what was not acknowledged: it may be there or not', () => {
    const partly = fleetExpectation((_, id) => id !== 40);
    expect(partly.possible.length).toBeGreaterThan(0);
    expect(partly.required.length).toBeLessThan(all.required.length);
    const both = storedAs({ required: [...partly.required, ...partly.possible], possible: [] });
    for (const stored of [storedAs(partly), both]) {
      expect(compareAlerts(partly, stored)).toMatchObject(clean);
      expect(compareTransitions(partly, receivedAs(stored))).toMatchObject(clean);
    }
    expect(compareAlerts(partly, storedAs(partly).slice(1)).missed).toHaveLength(1);
  });

  test('an episode that is open at the end is expected to fire still', () => {
    expect(all.required.some((episode) => episode.resolvedAt === null)).toBeTrue();
  });
});
