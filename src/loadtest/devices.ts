import type { Micros } from '../domain/time.ts';
import { breachesWithin, createSeries, type DeviceSeed } from './fleet.ts';
import { createLedger, type Ledger } from './ledger.ts';
import type { Simulation } from './simulation.ts';
import type { Episode, Expectation } from './verdict.ts';

/** One simulated device: what it will send, and what became of what it sent. */
export interface Device {
  readonly userId: string;
  readonly deviceId: string;
  readonly topic: string;
  /** How many readings it sends in the whole run. */
  readonly quota: number;
  readonly seed: DeviceSeed;
  readonly ledger: Ledger;
  /** The next reading, dated `now` or later: its times strictly increase. Recorded as published. */
  next(now: Micros): { sequenceId: number; payload: string };
}

export interface FleetOptions {
  run: string;
  simulation: Simulation;
  users: number;
  devicesPerUser: number;
  seed: number;
  meanCalm: number;
  /** Readings of all devices together. */
  total: number;
}

/** Where the model names the owner of everything, that one; else users of this run alone. */
export function userIds({
  run,
  users,
  simulation,
}: Pick<FleetOptions, 'run' | 'users' | 'simulation'>): string[] {
  if (simulation.owner !== null) return [simulation.owner];
  return Array.from({ length: users }, (_, index) => `${run}_${numbered(index, 4)}`);
}

/** The devices in the order in which they take turns: neighbours belong to different users. */
export function createDevices(options: FleetOptions): Device[] {
  const { run, seed, meanCalm, simulation } = options;
  const { signals, fillers } = simulation;
  const count = options.users * options.devicesPerUser;
  const owners = userIds(options);
  return Array.from({ length: count }, (_, index) => {
    const owner = index % owners.length;
    const device = Math.floor(index / owners.length);
    const quota = Math.floor(options.total / count) + (index < options.total % count ? 1 : 0);
    return createDevice(simulation, {
      userId: owners[owner] as string,
      // The run's name is in one of the two: what other runs left is not in the way.
      deviceId: `${simulation.owner === null ? 'device' : run}_${numbered(device, 3)}`,
      quota,
      // Independent of the run's name: a seed's values are the same in every run.
      seed: { seed, device: `${owner}/${device}`, meanCalm, signals, fillers },
    });
  });
}

function createDevice(
  simulation: Simulation,
  options: Pick<Device, 'userId' | 'deviceId' | 'quota' | 'seed'>,
): Device {
  const ledger = createLedger(options.quota);
  const series = createSeries(options.seed);
  let newest: Micros = 0;
  return {
    ...options,
    topic: simulation.topic(options),
    ledger,
    next(now) {
      newest = Math.max(now, newest + 1);
      const sequenceId = ledger.publish(newest);
      return { sequenceId, payload: simulation.encode(newest, sequenceId, series.next()) };
    },
  };
}

/** What must be alerted for what was published. `ruleIds`: the rule of each signal. */
export function expect(devices: readonly Device[], ruleIds: readonly string[]): Expectation {
  const required: Episode[] = [];
  const possible: Episode[] = [];
  for (const { userId, deviceId, seed, ledger } of devices) {
    for (const { signal, from, until } of breachesWithin(seed, ledger.published)) {
      const resolved = until <= ledger.published;
      const last = resolved ? until : ledger.published;
      const certain = last <= ledger.acknowledgedUpTo;
      (certain ? required : possible).push({
        userId,
        deviceId,
        ruleId: ruleIds[signal] as string,
        startedAt: ledger.timeOf(from),
        resolvedAt: resolved ? ledger.timeOf(until) : null,
      });
    }
  }
  return { required, possible };
}

function numbered(index: number, digits: number): string {
  return String(index + 1).padStart(digits, '0');
}
