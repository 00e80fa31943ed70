import type { Logger } from 'pino';
import { backoffMs, sleep } from './retry.ts';

/** What the publisher needs of an MQTT client; `MqttClient` has it. */
export interface PublishPort {
  readonly connected: boolean;
  whenConnected(): Promise<void>;
  /** Resolves on PUBACK; rejects when there is no connection or it ends before. */
  publish(topic: string, payload: string, options: { qos: 0 | 1; retain?: boolean }): Promise<void>;
}

/** Waits until the broker is back, or a while where it never was away. */
export async function whenBack(mqtt: PublishPort, signal: AbortSignal): Promise<void> {
  if (mqtt.connected) return await sleep(1_000, signal);
  // It rejects with each attempt that fails.
  const connected = mqtt.whenConnected().catch(() => sleep(250, signal));
  await Promise.race([connected, sleep(5_000, signal)]);
}

/** Does something until it works; null when the signal aborts first. Each failure is logged. */
export async function keepTrying<T>(
  work: () => Promise<T>,
  { signal, logger }: { signal: AbortSignal; logger: Pick<Logger, 'warn'> },
): Promise<T | null> {
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      return await work();
    } catch (error) {
      logger.warn({ err: error }, 'publisher: trying again');
      await sleep(backoffMs(attempt), signal);
    }
  }
  return null;
}
