import type { MqttClient } from 'mqtt';
import type { LogAppender, LogMessage } from '../../src/domain/log.ts';
import { type Bridge, type BridgeOptions, createBridge } from '../../src/mqtt/bridge.ts';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.ts';
import { Cleanup, type LogLine, recordingLogger, telemetry, topicOf, until } from './helpers.ts';

export interface TestBridge extends Bridge {
  lines: LogLine[];
  rejected: { message: LogMessage; error: Error }[];
}

export class BridgeCleanup extends Cleanup {
  async mosquitto(options: Parameters<typeof startMosquitto>[0] = {}): Promise<Mosquitto> {
    const mosquitto = await startMosquitto(options);
    this.add(() => mosquitto.remove());
    return mosquitto;
  }

  /** A started bridge; connected, unless `wait` is false. */
  async bridge(
    options: Partial<BridgeOptions> & { url: string; appender: LogAppender },
    { wait = true } = {},
  ): Promise<TestBridge> {
    const { logger, lines } = recordingLogger();
    const rejected: TestBridge['rejected'] = [];
    const bridge = createBridge({
      telemetry,
      async onRejected(message, error) {
        rejected.push({ message, error });
      },
      logger,
      backoff: { firstMs: 20, maxMs: 100 },
      ...options,
    });
    this.add(() => bridge.close(0));
    bridge.start();
    if (wait) await until('the bridge is connected', () => bridge.connected);
    // With its getters, which a spread would read once.
    return Object.assign(bridge, { lines, rejected });
  }
}

/** Publishes numbered messages, round and round the devices; resolves when all are acknowledged. */
export async function publishNumbers(
  client: MqttClient,
  { from = 0, count, devices = 10 }: { from?: number; count: number; devices?: number },
): Promise<void> {
  const numbers = Array.from({ length: count }, (_, i) => from + i);
  await Promise.all(
    numbers.map((n) => client.publishAsync(topicOf(`d${n % devices}`), String(n), { qos: 1 })),
  );
}

export const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Each device's numbers as they lie in a log, each where it came first. */
export function firstsByDevice(messages: { topic: string | null; value: Uint8Array }[]) {
  const devices = new Map<string, Set<number>>();
  for (const { topic, value } of messages) {
    const device = telemetry.match(topic ?? '')?.deviceId ?? '';
    const numbers = devices.get(device) ?? new Set();
    devices.set(device, numbers.add(Number(Buffer.from(value).toString())));
  }
  return new Map([...devices].map(([device, numbers]) => [device, [...numbers]]));
}

/** The numbers that `publishNumbers` gives each device. */
export function numbersByDevice(count: number, devices = 10): Map<string, number[]> {
  const all = upTo(devices).map((device): [string, number[]] => [
    `d${device}`,
    upTo(count).filter((n) => n % devices === device),
  ]);
  return new Map(all);
}

/** A log in memory that makes a group of messages durable every 5 ms, like a disk or a Kafka. */
export function groupingLog() {
  const messages: LogMessage[] = [];
  let group: (() => void)[] = [];
  let largest = 0;
  const appender: LogAppender = {
    append(message) {
      messages.push(message);
      return new Promise((resolve) => {
        if (group.push(resolve) > 1) return;
        setTimeout(() => {
          largest = Math.max(largest, group.length);
          for (const done of group) done();
          group = [];
        }, 5);
      });
    },
  };
  return { appender, messages, largestGroup: () => largest };
}
