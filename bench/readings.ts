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

export interface Readings {
  message(index: number): LoadMessage;
  /** Of the first `count` readings those that make an alert: their places, by `alertKey`. */
  transitions(count: number): Map<string, number>;
}

/** Live readings, the devices in turn; the crossing ones are spread over the others. */
export function createReadings({ users, devices, crossing }: Fleet): Readings {
  const baseMs = Date.now() - 60_000;
  const every = crossing === 0 ? Number.POSITIVE_INFINITY : Math.round(devices / crossing);
  const placeOf = (index: number) => {
    const [device, sequence] = [index % devices, Math.floor(index / devices)];
    return { device, sequence, time: new Date(baseMs + sequence).toISOString() };
  };

  return {
    message(index) {
      const { device, sequence, time } = placeOf(index);
      const isHot = device % every === 0 && sequence % 2 === 0;
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
    },
    transitions(count) {
      const found = new Map<string, number>();
      for (let index = 0; index < count; index++) {
        const { device, time } = placeOf(index);
        if (device % every === 0) found.set(alertKey(`dev_${device}`, time), index);
      }
      return found;
    },
  };
}

/** An alert names the reading that made it by its device and the reading's time. */
export function alertKey(deviceId: string, time: string): string {
  return `${deviceId} ${time}`;
}
