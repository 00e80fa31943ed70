import './packet-numbers.ts';
import mqtt from 'mqtt';
import type { MqttClientOptions } from './client.ts';

export interface MqttMessage {
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
  /** Set when the broker sends it again. */
  dup: boolean;
}

/** One connection from CONNACK to its end. */
export interface MqttConnection {
  readonly sessionPresent: boolean;
  /** Resolves when it has ended, with the reason; null when the other side just went away. */
  readonly ended: Promise<Error | null>;
  publish(
    topic: string,
    payload: string | Buffer,
    options: { qos: 0 | 1; retain: boolean },
  ): Promise<void>;
  subscribe(filter: string, qos: 0 | 1): Promise<void>;
  /** Resolves when no publish waits for its answer. */
  idle(): Promise<void>;
  /** Ends it at once; everything that waits on it rejects with the reason. */
  end(reason: Error): void;
}

export interface ConnectionOptions extends MqttClientOptions {
  /** The message is acknowledged when it resolves; when it rejects the connection ends. */
  onMessage(message: MqttMessage): Promise<void>;
  signal: AbortSignal;
}

const CONNECT_TIMEOUT_MS = 10_000;
const KEEPALIVE_S = 30;
const SESSION_EXPIRY_S = 7 * 24 * 3_600;

/** @throws Error when the broker can't be reached, refuses, or doesn't answer in time */
export async function openConnection(options: ConnectionOptions): Promise<MqttConnection> {
  const { protocolVersion = 4, clean = true, publishTimeoutMs = 10_000 } = options;
  const maxInFlight = options.maxInFlight ?? 5_000;
  const client = mqtt.connect(options.url, {
    protocolVersion,
    clientId: options.clientId,
    clean,
    username: options.username,
    password: options.password,
    ...options.tls,
    keepalive: KEEPALIVE_S,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // Its own way back would bring its unbounded queue of unsent messages along.
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    ...(protocolVersion === 5 && !clean
      ? { properties: { sessionExpiryInterval: SESSION_EXPIRY_S } }
      : {}),
  });
  const ended = Promise.withResolvers<Error | null>();
  const waiting = new Set<(error: Error) => void>();
  let inFlight = 0;
  let whenIdle: (() => void)[] = [];
  let reason: Error | null = null;
  let isOpen = true;

  function end(error: Error): void {
    reason ??= error;
    client.end(true);
    finish();
  }
  function finish(): void {
    if (!isOpen) return;
    isOpen = false;
    const error = reason ?? new Error('the MQTT connection ended');
    for (const reject of waiting) reject(error);
    waiting.clear();
    for (const resolve of whenIdle) resolve();
    ended.resolve(reason);
  }

  client.on('error', end);
  client.on('close', () => {
    client.end(true);
    finish();
  });
  client.handleMessage = (packet, acknowledge) => {
    const { topic, qos, retain, dup } = packet;
    const payload = Buffer.from(packet.payload);
    options.onMessage({ topic, payload, qos, retain, dup }).then(
      () => {
        if (isOpen) acknowledge();
      },
      (error: unknown) => {
        options.logger.error({ topic, err: error }, 'an MQTT message could not be handled');
        end(new Error(`the handler of ${topic} failed: the connection is ended`, { cause: error }));
      },
    );
  };

  /** A promise that also rejects when the connection ends. */
  function whileOpen<T>(start: (resolve: (value: T) => void, reject: (e: Error) => void) => void) {
    return new Promise<T>((resolve, reject) => {
      if (!isOpen) {
        reject(reason ?? new Error('the MQTT connection ended'));
        return;
      }
      waiting.add(reject);
      start(
        (value) => {
          waiting.delete(reject);
          resolve(value);
        },
        (error) => {
          waiting.delete(reject);
          reject(error);
        },
      );
    });
  }

  function publish(
    topic: string,
    payload: string | Buffer,
    { qos, retain }: { qos: 0 | 1; retain: boolean },
  ): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    return whileOpen<void>((resolve, reject) => {
      if (inFlight >= maxInFlight) {
        reject(new Error(`${maxInFlight} MQTT messages are unanswered: publish fewer at a time`));
        return;
      }
      inFlight++;
      timer = setTimeout(
        () => reject(new Error(`no answer to a message on ${topic} in ${publishTimeoutMs} ms`)),
        publishTimeoutMs,
      );
      client.publish(topic, payload, { qos, retain }, (error) => {
        // One that timed out keeps its place until it is answered: the client still holds it.
        inFlight--;
        if (inFlight === 0) {
          for (const idle of whenIdle) idle();
          whenIdle = [];
        }
        if (error) reject(error);
        else resolve();
      });
    }).finally(() => clearTimeout(timer));
  }

  const abort = () => end(new Error('the MQTT client is closed'));
  options.signal.addEventListener('abort', abort);
  void ended.promise.then(() => options.signal.removeEventListener('abort', abort));
  const connack = await whileOpen<{ sessionPresent: boolean }>((resolve) =>
    client.once('connect', resolve),
  );
  return {
    sessionPresent: connack.sessionPresent,
    ended: ended.promise,
    publish,
    subscribe: (filter, qos) =>
      whileOpen((resolve, reject) =>
        client.subscribe(filter, { qos }, (error) => (error ? reject(error) : resolve())),
      ),
    idle: () =>
      inFlight === 0 || !isOpen
        ? Promise.resolve()
        : new Promise((resolve) => whenIdle.push(resolve)),
    end,
  };
}
