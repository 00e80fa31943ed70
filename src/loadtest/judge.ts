import { type Api, inParallel } from './api.ts';
import type { Device } from './devices.ts';
import type { LatencySummary } from './latency.ts';
import type { Observer } from './observer.ts';
import type { Publisher, PublisherTotals } from './publisher.ts';
import { deadLettersOf, storedAlerts, storedReadings } from './queries.ts';
import type { Scope } from './scope.ts';
import type { Simulation } from './simulation.ts';
import {
  type AlertVerdict,
  compareAlerts,
  compareReadings,
  compareTransitions,
  type DoorVerdict,
  type Expectation,
  numberOf,
} from './verdict.ts';

export interface LoadResult {
  run: string;
  users: number;
  devices: number;
  seed: number;
  rate: number;
  publishSeconds: number;
  interrupted: boolean;
  connections: PublisherTotals & { webSocketReconnects: number; mqttAlertReconnects: number };
  readings: {
    sent: number;
    acknowledged: number;
    stored: number;
    storedUnacknowledged: number;
    /** In words, as those below: `user/device #sequence`. */
    lost: string[];
    duplicated: string[];
    foreign: string[];
    /** topic: reason */
    deadLetters: string[];
  };
  alerts: { stored: AlertVerdict; webSocket: DoorVerdict; mqtt: DoorVerdict };
  /** Of alerts that are neither required nor false: a reading of theirs was not acknowledged. */
  possibleAlerts: number;
  latencyMs: {
    stored: LatencySummary | null;
    storedSampledDevices: number;
    webSocket: LatencySummary | null;
    mqtt: LatencySummary | null;
  };
  /** What was still awaited when the time to settle was over. */
  unsettled: string[];
}

const QUERIES_AT_ONCE = 4;

/** The parts of a run, while it runs. */
export interface Running {
  api: Api;
  devices: readonly Device[];
  observer: Observer;
  publisher: Publisher;
  scope: Scope;
  simulation: Simulation;
}

type Judged = Pick<
  LoadResult,
  'connections' | 'readings' | 'alerts' | 'possibleAlerts' | 'latencyMs'
>;

/** Lists what is stored and compares it, and what came in, with what was acknowledged. */
export async function judge({
  api,
  devices,
  observer,
  publisher,
  scope,
  simulation,
  expectation,
}: Running & { expectation: Expectation }): Promise<Judged> {
  const totals = publisher.totals();
  const readings: Judged['readings'] = {
    sent: totals.sent,
    acknowledged: totals.acknowledged,
    stored: 0,
    storedUnacknowledged: 0,
    lost: [],
    duplicated: [],
    foreign: [],
    deadLetters: [],
  };
  await inParallel(devices, QUERIES_AT_ONCE, async (device) => {
    const letters = await deadLettersOf(api, device.topic);
    const deadLettered = new Set(letters.map((letter) => numberOf(device.ledger, letter)));
    const rows = await storedReadings(api, device, simulation);
    const found = compareReadings(device.ledger, rows, deadLettered);
    const named = (ids: number[]) => ids.map((id) => `${device.userId}/${device.deviceId} #${id}`);
    readings.stored += found.stored;
    readings.storedUnacknowledged += found.storedUnacknowledged;
    readings.lost.push(...named(found.lost));
    readings.duplicated.push(...named(found.duplicated));
    readings.foreign.push(...named(found.foreign));
    readings.deadLetters.push(...letters.map(({ reason }) => `${device.topic}: ${reason}`));
  });
  const owners = [...new Set(devices.map((device) => device.userId))];
  const stored = await inParallel(owners, QUERIES_AT_ONCE, (userId) => storedAlerts(api, userId));
  const reconnects = observer.reconnects();
  return {
    connections: {
      ...totals,
      webSocketReconnects: reconnects.webSocket,
      mqttAlertReconnects: reconnects.mqtt,
    },
    readings,
    alerts: {
      stored: compareAlerts(expectation, stored.flat().filter(scope.holds)),
      webSocket: compareTransitions(expectation, observer.webSocket.transitions),
      mqtt: compareTransitions(expectation, observer.mqtt.transitions),
    },
    possibleAlerts: expectation.possible.length,
    latencyMs: {
      stored: observer.stored.latency.summary(),
      storedSampledDevices: observer.stored.devices,
      webSocket: observer.webSocket.latency.summary(),
      mqtt: observer.mqtt.latency.summary(),
    },
  };
}
