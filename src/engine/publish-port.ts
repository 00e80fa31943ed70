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
  // It rejects once the client is closed.
  const connected = mqtt.whenConnected().catch(() => sleep(250, signal));
  await Promise.race([connected, sleep(5_000, signal)]);
}

/** One message on its way out; `about` is what the log says of it. */
export interface Sending {
  send: () => Promise<void>;
  about: object;
}

/** Tries of a message, alone on a connection that stands, and how long they go on at least. */
const TRIES = 5;
const PATIENCE_MS = 10_000;

export interface SendingPort {
  mqtt: PublishPort;
  logger: Pick<Logger, 'warn' | 'error'>;
  signal: AbortSignal;
  patienceMs?: number;
}

/**
 * Sends all of them at once, and waits for a broker that is away as long as it takes. What a broker
 * that can be reached refuses again and again, by whatever sign, is logged and given up, so that it
 * holds up nothing else.
 *
 * @throws the signal's reason on abort
 */
export async function sendAll(sendings: readonly Sending[], port: SendingPort): Promise<void> {
  const { signal, logger, patienceMs = PATIENCE_MS } = port;
  const results = await Promise.allSettled(sendings.map(({ send }) => send()));
  let rest = sendings.filter((_, index) => results[index]?.status === 'rejected');
  if (rest.length === 0) return;
  signal.throwIfAborted();
  const first = results.find((result) => result.status === 'rejected');
  logger.warn({ err: first?.reason, messages: rest.length }, 'messages wait for the MQTT broker');
  const sinceMs = performance.now();
  for (let round = 1; rest.length > 0; round++) {
    const isLast = round >= TRIES && performance.now() - sinceMs >= patienceMs;
    // One that ends the connection ends it for all: one by one the others get through.
    const failed: Sending[] = [];
    for (const sending of rest) {
      const error = await sendAlone(sending, port);
      if (error === null) continue;
      if (!isLast) failed.push(sending);
      else logger.error({ err: error, ...sending.about }, 'the MQTT broker refuses it: left out');
    }
    rest = failed;
  }
}

/** Sends it on a connection that stands. Gives what came of it, with the broker back again. */
async function sendAlone({ send }: Sending, { mqtt, signal }: SendingPort): Promise<unknown> {
  while (!mqtt.connected && !signal.aborted) await whenBack(mqtt, signal);
  signal.throwIfAborted();
  try {
    await send();
    return null;
  } catch (error) {
    await whenBack(mqtt, signal);
    signal.throwIfAborted();
    return error ?? new Error('refused');
  }
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
