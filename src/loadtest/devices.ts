import { formatMicros, type Micros } from '../domain/time.ts';
import { breachesWithin, createSeries, type DeviceSeed, type Fields, SIGNALS } from './fleet.ts';
import { createLedger, type Ledger } from './ledger.ts';
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
  users: number;
  devicesPerUser: number;
  seed: number;
  meanCalm: number;
  /** Readings of all devices together. */
  total: number;
}

export function userIds({ run, users }: Pick<FleetOptions, 'run' | 'users'>): string[] {
  return Array.from({ length: users }, (_, index) => `${run}_${numbered(index, 4)}`);
}

/** The devices in the order in which they take turns: neighbours belong to different users. */
export function createDevices(options: FleetOptions): Device[] {
  const count = options.users * options.devicesPerUser;
  const owners = userIds(options);
  return Array.from({ length: count }, (_, index) => {
    const owner = index % options.users;
    const device = Math.floor(index / options.users);
    const quota = Math.floor(options.total / count) + (index < options.total % count ? 1 : 0);
    return createDevice({
      userId: owners[owner] as string,
      deviceId: `device_${numbered(device, 3)}`,
      quota,
      // Independent of the run's name: a seed's values are the same in every run.
      seed: { seed: options.seed, device: `${owner}/${device}`, meanCalm: options.meanCalm },
    });
  });
}

function createDevice(options: Pick<Device, 'userId' | 'deviceId' | 'quota' | 'seed'>): Device {
  const ledger = createLedger(options.quota);
  const series = createSeries(options.seed);
  let newest: Micros = 0;
  return {
    ...options,
    topic: telemetryTopic(options),
    ledger,
    next(now) {
      newest = Math.max(now, newest + 1);
      const sequenceId = ledger.publish(newest);
      return { sequenceId, payload: encode(newest, sequenceId, series.next()) };
    },
  };
}

export function telemetryTopic({ userId, deviceId }: { userId: string; deviceId: string }): string {
  return `users/${userId}/devices/${deviceId}/telemetry`;
}

export function encode(time: Micros, sequenceId: number, fields: Fields): string {
  return JSON.stringify({ time: formatMicros(time), sequence_id: sequenceId, ...fields });
}

/** What must be alerted for what was published. `ruleIds`: the rule of each of SIGNALS. */
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
        ruleId: ruleIds[signal] ?? SIGNALS[signal]?.key ?? '',
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
