import type { Logger } from 'pino';
import { type BackoffOptions, createBackoff } from './backoff.ts';
import { type MqttConnection, type MqttMessage, openConnection } from './connection.ts';
import { filterMatches } from './filters.ts';
import { createSparingLog } from './sparing-log.ts';

export type MqttHandler = (message: MqttMessage) => Promise<void> | void;

export interface MqttClientOptions {
  /** mqtt:// or mqtts:// */
  url: string;
  clientId: string;
  /** False keeps the session, with its queue, over reconnects and restarts; default true. */
  clean?: boolean;
  /** 4 is MQTT 3.1.1, which the embedded broker speaks; default 4. */
  protocolVersion?: 4 | 5;
  username?: string;
  password?: string;
  /** Certificates as PEM text. */
  tls?: { ca?: string; cert?: string; key?: string; rejectUnauthorized?: boolean };
  /** A publish without an answer rejects after this; default 10,000. */
  publishTimeoutMs?: number;
  /** Publishes without an answer on one connection; a further one rejects. Default 5,000. */
  maxInFlight?: number;
  backoff?: BackoffOptions;
  logger: Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>;
}

export interface MqttClient {
  readonly connected: boolean;
  /** Resolves once it is connected and subscribed; rejects at close. */
  whenConnected(): Promise<void>;
  /**
   * Resolves on PUBACK (QoS 1, the default) or once it is sent (QoS 0). Nothing is queued: it
   * rejects when there is no connection, when that ends before the answer, and after
   * `publishTimeoutMs`. A message whose publish rejected may have arrived.
   */
  publish(
    topic: string,
    payload: string | Buffer,
    options?: { qos?: 0 | 1; retain?: boolean },
  ): Promise<void>;
  /**
   * Hands every message of a filter to `handler`, one after the other, and acknowledges it when the
   * handler resolves. When it rejects, the connection is ended, so that the broker sends the
   * message again. Resolves when the broker first granted the subscription. Subscribe before the
   * first await after `connectMqtt`: a kept session's queue comes right after the connection.
   */
  subscribe(filter: string, handler: MqttHandler, options?: { qos?: 0 | 1 }): Promise<void>;
  /** Waits for what is in flight up to the deadline (default 3,000), then disconnects. */
  close(deadlineMs?: number): Promise<void>;
}

interface Subscription {
  filter: string;
  qos: 0 | 1;
  handler: MqttHandler;
  /** Whether this client has subscribed it on some connection: a kept session needs no more. */
  granted: PromiseWithResolvers<void>;
  isGranted: boolean;
}

const LOG_EVERY_MS = 10_000;
const STABLE_AFTER_MS = 5_000;

/** An MQTT client that comes back by itself; of one connection nothing is carried to the next. */
export function connectMqtt(options: MqttClientOptions): MqttClient {
  const { url, logger } = options;
  const backoff = createBackoff(options.backoff);
  const subscriptions: Subscription[] = [];
  const closing = new AbortController();
  let connection: MqttConnection | null = null;
  let ready = false;
  let connectedNow = Promise.withResolvers<void>();
  connectedNow.promise.catch(() => {});
  // Messages are handled one at a time also where a new connection repeats one still being handled.
  let handling: Promise<void> = Promise.resolve();
  const logTrouble = createSparingLog<unknown>(LOG_EVERY_MS, (error, leftOut) =>
    logger.warn({ url: withoutPassword(url), leftOut, err: error }, 'no MQTT connection: retrying'),
  );

  function handle(message: MqttMessage): Promise<void> {
    const work = handling.then(async () => {
      const takers = subscriptions.filter(({ filter }) => filterMatches(filter, message.topic));
      if (takers.length === 0) {
        logger.warn({ topic: message.topic }, 'nothing here takes this MQTT message: acknowledged');
      }
      for (const { handler } of takers) await handler(message);
    });
    handling = work.catch(() => {});
    return work;
  }

  async function subscribeOn(target: MqttConnection, subscription: Subscription): Promise<void> {
    await target.subscribe(subscription.filter, subscription.qos);
    subscription.isGranted = true;
    subscription.granted.resolve();
  }

  async function connectOnce(): Promise<void> {
    const opened = await openConnection({ ...options, onMessage: handle, signal: closing.signal });
    const sinceMs = performance.now();
    // From here on, as handlers may publish: a kept session's messages come before the SUBACK.
    connection = opened;
    try {
      for (const subscription of [...subscriptions]) {
        if (opened.sessionPresent && subscription.isGranted) continue;
        await subscribeOn(opened, subscription);
      }
      ready = true;
      connectedNow.resolve();
      logger.debug({ url: withoutPassword(url), clientId: options.clientId }, 'MQTT connected');
      throw (await opened.ended) ?? new Error('the broker ended the connection');
    } finally {
      connection = null;
      opened.end(new Error('the MQTT connection ended'));
      if (ready) {
        ready = false;
        connectedNow = Promise.withResolvers();
        connectedNow.promise.catch(() => {});
      }
      // A connection that ends soon after it began is no sign that the trouble is over.
      if (performance.now() - sinceMs > STABLE_AFTER_MS) backoff.reset();
    }
  }

  async function stayConnected(): Promise<void> {
    // Those who subscribe right after `connectMqtt` are on the list before a message can come.
    await Promise.resolve();
    while (!closing.signal.aborted) {
      try {
        await connectOnce();
      } catch (error) {
        if (closing.signal.aborted) break;
        logTrouble(error);
        await backoff.wait(closing.signal);
      }
    }
    connectedNow.reject(new Error('the MQTT client is closed'));
  }
  const running = stayConnected();

  async function publish(
    topic: string,
    payload: string | Buffer,
    { qos = 1, retain = false }: { qos?: 0 | 1; retain?: boolean } = {},
  ): Promise<void> {
    if (!connection) throw new Error(`not connected to the MQTT broker ${withoutPassword(url)}`);
    await connection.publish(topic, payload, { qos, retain });
  }

  function subscribe(
    filter: string,
    handler: MqttHandler,
    { qos = 1 }: { qos?: 0 | 1 } = {},
  ): Promise<void> {
    const granted = Promise.withResolvers<void>();
    granted.promise.catch(() => {});
    const subscription: Subscription = { filter, qos, handler, granted, isGranted: false };
    subscriptions.push(subscription);
    const target = connection;
    if (target) subscribeOn(target, subscription).catch((error) => target.end(error));
    return granted.promise;
  }

  let closed: Promise<void> | undefined;
  async function close(deadlineMs: number): Promise<void> {
    const reason = new Error('the MQTT client is closed');
    const deadline = Bun.sleep(deadlineMs);
    await Promise.race([Promise.all([connection?.idle(), handling]), deadline]);
    closing.abort(reason);
    connection?.end(reason);
    for (const { granted } of subscriptions) granted.reject(reason);
    await running;
  }

  return {
    get connected() {
      return connection !== null;
    },
    whenConnected: () => connectedNow.promise,
    publish,
    subscribe,
    close(deadlineMs = 3_000) {
      closed ??= close(deadlineMs);
      return closed;
    },
  };
}

function withoutPassword(url: string): string {
  const parsed = new URL(url);
  parsed.password = '';
  return parsed.toString();
}
