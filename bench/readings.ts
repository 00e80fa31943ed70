import type { LoadMessage } from './mqtt-load.ts';

/** Of every user, as `temperature_max`. */
export const THRESHOLD = 50;
const HOT = 60;
const COLD = 40;

export interface Fleet {
  users: number;
  devices: number;
  /** How many of the devices cross the threshold with each reading, up and down by turns. */
  crossing: number;
}

export function userIds({ users }: Fleet): string[] {
  return Array.from({ length: users }, (_, n) => `user_${n}`);
}

/** Live readings, the devices in turn; the crossing ones are spread over the others. */
export function createReadings(fleet: Fleet): (index: number) => LoadMessage {
  const { users, devices, crossing } = fleet;
  const baseMs = Date.now() - 60_000;
  const every = crossing === 0 ? Number.POSITIVE_INFINITY : Math.round(devices / crossing);
  return (index) => {
    const device = index % devices;
    const sequence = Math.floor(index / devices);
    const isHot = device % every === 0 && sequence % 2 === 0;
    const time = new Date(baseMs + sequence).toISOString();
    return {
      topic: `users/user_${device % users}/devices/dev_${device}/telemetry`,
      payload: JSON.stringify({
        time,
        sequence_id: sequence,
        temperature: (isHot ? HOT : COLD) + (index % 10) / 10,
        battery: 50 + (index % 50),
        pressure: 100 + (index % 5),
      }),
      lane: device,
    };
  };
}

/** By which an alert names the reading that made it: its device and the reading's time. */
export function readingOf(index: number, { devices }: Fleet): { device: string; round: number } {
  return { device: `dev_${index % devices}`, round: Math.floor(index / devices) };
}
