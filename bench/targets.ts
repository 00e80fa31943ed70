import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import { type Settings, startTestApp } from '../tests/support/app.ts';
import { eventually } from '../tests/support/process.ts';
import { alertKey, type Fleet, THRESHOLD, userIds } from './readings.ts';

/** Called for each alert with the `alertKey` of the reading that made it. */
export type OnAlert = (key: string) => void;

/** A process that takes readings over MQTT and sends alerts: Pulsegraph, or the plain contender. */
export interface Target {
  readonly pid: number;
  readonly mqttUrl: string;
  /** With its password; null where nothing is stored. */
  readonly databaseUrl: string | null;
  /** The alerts of one user over a WebSocket. */
  watch(userId: string, onAlert: OnAlert): Promise<Closable>;
  /** The alerts of all users over MQTT. */
  listen(onAlert: OnAlert): Promise<Closable>;
  remove(): Promise<void>;
}

export interface Closable {
  close(): void;
}

const SUBSCRIPTION = `subscription ($userId: ID!) {
  alertEvents(userId: $userId) { seq type time message alert { id device { deviceId } } }
}`;
const STARTED_WITHIN_MS = 30_000;
const RESEND_MS = 3_000;
/** By then every replica has a rule that was accepted. */
const RULES_APPLY_MS = 1_000;

let topics = 0;

/** The real process, with the threshold as each user's rule, on the embedded log or on Kafka. */
export async function startPulsegraph(fleet: Fleet, brokers?: string[]): Promise<Target> {
  const settings: Settings = {};
  if (brokers !== undefined) {
    const name = `bench-app-${process.pid}-${++topics}`;
    Object.assign(settings, { KAFKA_BROKERS: brokers.join(), KAFKA_TOPIC: name });
    Object.assign(settings, { KAFKA_DLQ_TOPIC: `${name}-dlq`, KAFKA_GROUP_ID: name });
  }
  const app = await startTestApp(settings);
  const remove = async () => {
    await app.stop();
    await app.remove();
  };
  try {
    await setThreshold(app.mqttUrl, userIds(fleet));
  } catch (error) {
    await remove();
    throw error;
  }
  const { pid, mqttUrl, databaseUrl } = app;
  return {
    pid,
    mqttUrl,
    databaseUrl,
    watch: (userId, onAlert) => watchGraphql(app.graphqlUrl, userId, onAlert),
    listen: (onAlert) => listenMqtt(app.mqttUrl, onAlert),
    remove,
  };
}

/** bench/broker-process.ts, which says what each mode does. */
export async function startPlain(mode: 'none' | 'log' | 'alerts'): Promise<Target> {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-bench-'));
  const script = join(import.meta.dirname, 'broker-process.ts');
  const child = Bun.spawn([process.execPath, script, mode, folder], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const { value } = await child.stdout.getReader().read();
  const { mqttUrl, wsUrl } = JSON.parse(new TextDecoder().decode(value));
  return {
    pid: child.pid,
    mqttUrl,
    databaseUrl: null,
    async watch(userId, onAlert) {
      const socket = new WebSocket(`${wsUrl}/${userId}`);
      socket.onmessage = ({ data }) => {
        const { device_id, time } = JSON.parse(data as string);
        onAlert(alertKey(device_id, time));
      };
      await new Promise((resolve, reject) => {
        socket.onopen = resolve;
        socket.onerror = reject;
      });
      return { close: () => socket.close() };
    },
    listen: (onAlert) => listenMqtt(mqttUrl, onAlert),
    async remove() {
      await child.stdin.end();
      await child.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Resolves once the accepted configs have been published and are in force. */
async function setThreshold(mqttUrl: string, users: readonly string[]): Promise<void> {
  const client = await connectAsync(mqttUrl);
  const accepted = new Set<string>();
  client.on('message', (topic, payload) => {
    if (JSON.parse(payload.toString()).version !== undefined) accepted.add(topic);
  });
  await client.subscribeAsync('users/+/config', { qos: 1 });
  const config = JSON.stringify({ temperature_max: THRESHOLD });
  const topics = users.map((user) => `users/${user}/config`);
  // Sent again: on a busy machine the process may be ready before it has subscribed.
  let sentMs = Number.NEGATIVE_INFINITY;
  const inForce = async () => {
    if (performance.now() - sentMs > RESEND_MS) {
      sentMs = performance.now();
      const missing = topics.filter((topic) => !accepted.has(topic));
      for (const topic of missing) await client.publishAsync(topic, config, { qos: 1 });
    }
    return accepted.size === topics.length;
  };
  await eventually('the rules accepted', inForce, STARTED_WITHIN_MS);
  await client.endAsync(true);
  await Bun.sleep(RULES_APPLY_MS);
}

async function listenMqtt(url: string, onAlert: OnAlert): Promise<Closable> {
  const client = await connectAsync(url);
  client.on('message', (_, payload) => {
    const { device_id, time } = JSON.parse(payload.toString());
    onAlert(alertKey(device_id, time));
  });
  await client.subscribeAsync('users/+/alerts', { qos: 1 });
  return { close: () => client.end(true) };
}

/** Bare graphql-transport-ws: a thousand clients share this process with the publisher. */
function watchGraphql(url: string, userId: string, onAlert: OnAlert): Promise<Closable> {
  const socket = new WebSocket(url.replace('http', 'ws'), 'graphql-transport-ws');
  const { promise, resolve, reject } = Promise.withResolvers<Closable>();
  socket.onopen = () => socket.send('{"type":"connection_init"}');
  socket.onerror = () => reject(new Error('a subscriber could not connect'));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data as string);
    if (message.type === 'connection_ack') {
      const payload = { query: SUBSCRIPTION, variables: { userId } };
      socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload }));
      resolve({ close: () => socket.close() });
    } else if (message.type === 'next') {
      const { time, alert } = message.payload.data.alertEvents;
      onAlert(alertKey(alert.device.deviceId, time));
    } else if (message.type === 'ping') {
      socket.send('{"type":"pong"}');
    } else {
      console.error('a subscription ended:', data);
    }
  };
  return promise;
}
