/**
 * Alerts to many subscribers: 1,000 sockets over 30 users, 1,000 transitions a second, each of
 * which goes to all subscribers of its user. Every delivery is checked: none missed, none twice.
 */
import { readFileSync } from 'node:fs';
import { createHistogram } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectAsync } from 'mqtt';
import { startTestApp, type TestApp } from '../tests/support/app.ts';

export interface FanoutOptions {
  users: number;
  subscribers: number;
  /** Alert transitions a second, over all users. */
  transitionsPerSecond: number;
  seconds: number;
}

export interface FanoutResult extends FanoutOptions {
  workload: string;
  transitions: number;
  expected: number;
  delivered: number;
  missed: number;
  doubled: number;
  /** From just before the reading was published to the message in the subscriber: milliseconds. */
  p50: number;
  p99: number;
  max: number;
  /** Of the process that serves, at its highest: MiB. */
  rss: number;
  /** Of the process that serves, ingest included: CPU time for each delivery, microseconds. */
  cpu: number;
}

const SUBSCRIPTION = `subscription ($userId: ID!) {
  alertEvents(userId: $userId) { seq type time message alert { id device { deviceId } } }
}`;
const TICK_MS = 20;
const DRAIN_MS = 20_000;

export async function benchFanout(options: FanoutOptions): Promise<FanoutResult> {
  const app = await startTestApp();
  const mqtt = await connectAsync(app.mqttUrl);
  try {
    const userIds = Array.from({ length: options.users }, (_, n) => `user_${n}`);
    for (const userId of userIds) {
      const config = JSON.stringify({ temperature_max: 50 });
      await mqtt.publishAsync(`users/${userId}/config`, config, { qos: 1 });
    }
    const sentAt = new Map<string, number>();
    const latency = createHistogram();
    const subscribers = await Promise.all(
      Array.from({ length: options.subscribers }, (_, n) =>
        subscribe(app, userIds[n % userIds.length] as string, (time) => {
          const at = sentAt.get(time);
          if (at !== undefined)
            latency.record(Math.max(1, Math.round((performance.now() - at) * 1_000)));
        }),
      ),
    );
    await sleep(1_500);
    let rss = 0;
    const sampling = setInterval(() => {
      rss = Math.max(rss, rssOf(app.pid));
    }, 250);
    const cpuBefore = cpuSecondsOf(app.pid);
    const perUser = await publish(options, userIds, mqtt, sentAt);
    const expected = subscribers.reduce((sum, { userId }) => sum + (perUser.get(userId) ?? 0), 0);
    const delivered = () => subscribers.reduce((sum, one) => sum + one.seqs.size, 0);
    for (const until = performance.now() + DRAIN_MS; performance.now() < until; ) {
      if (delivered() >= expected) break;
      await sleep(50);
    }
    clearInterval(sampling);
    const result = {
      workload: 'fan-out',
      ...options,
      transitions: [...perUser.values()].reduce((sum, n) => sum + n, 0),
      expected,
      delivered: delivered(),
      missed: expected - delivered(),
      doubled: subscribers.reduce((sum, one) => sum + one.doubled, 0),
      p50: latency.percentile(50) / 1_000,
      p99: latency.percentile(99) / 1_000,
      max: latency.max / 1_000,
      rss,
      cpu: ((cpuSecondsOf(app.pid) - cpuBefore) * 1e6) / Math.max(1, delivered()),
    };
    for (const { close } of subscribers) close();
    return result;
  } finally {
    mqtt.end(true);
    await app.stop();
    await app.remove();
  }
}

interface Subscriber {
  userId: string;
  seqs: Set<number>;
  doubled: number;
  close: () => void;
}

/** Bare graphql-transport-ws: a thousand clients share this process with the publisher. */
function subscribe(
  app: TestApp,
  userId: string,
  onTime: (time: string) => void,
): Promise<Subscriber> {
  const subscriber: Subscriber = {
    userId,
    seqs: new Set(),
    doubled: 0,
    close: () => socket.close(),
  };
  const socket = new WebSocket(app.graphqlUrl.replace('http', 'ws'), 'graphql-transport-ws');
  const { promise, resolve, reject } = Promise.withResolvers<Subscriber>();
  socket.onopen = () => socket.send('{"type":"connection_init"}');
  socket.onerror = () => reject(new Error('a subscriber could not connect'));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data as string);
    if (message.type === 'connection_ack') {
      const payload = { query: SUBSCRIPTION, variables: { userId } };
      socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload }));
      resolve(subscriber);
    } else if (message.type === 'next') {
      const { seq, time, alert } = message.payload.data.alertEvents;
      if (subscriber.seqs.has(seq)) subscriber.doubled++;
      subscriber.seqs.add(seq);
      onTime(`${alert.device.deviceId} ${time}`);
    } else if (message.type === 'ping') {
      socket.send('{"type":"pong"}');
    } else {
      console.error('a subscription ended:', data);
    }
  };
  return promise;
}

/** Each reading crosses the threshold, up and down by turns: one transition each. */
async function publish(
  { transitionsPerSecond, seconds }: FanoutOptions,
  userIds: readonly string[],
  mqtt: Awaited<ReturnType<typeof connectAsync>>,
  sentAt: Map<string, number>,
): Promise<Map<string, number>> {
  const perUser = new Map<string, number>();
  const startedMs = performance.now();
  const base = Date.now();
  const total = transitionsPerSecond * seconds;
  const acknowledged: Promise<unknown>[] = [];
  for (let sent = 0; sent < total; ) {
    const due = Math.min(total, ((performance.now() - startedMs) / 1_000) * transitionsPerSecond);
    for (; sent < due; sent++) {
      const userId = userIds[sent % userIds.length] as string;
      const sequence = Math.floor(sent / userIds.length);
      const time = new Date(base + sequence).toISOString();
      const temperature = sequence % 2 === 0 ? 60 : 40;
      sentAt.set(`d_${userId} ${time}`, performance.now());
      perUser.set(userId, (perUser.get(userId) ?? 0) + 1);
      acknowledged.push(
        mqtt.publishAsync(
          `users/${userId}/devices/d_${userId}/telemetry`,
          JSON.stringify({ time, sequence_id: sequence, temperature }),
          { qos: 1 },
        ),
      );
    }
    await sleep(TICK_MS);
  }
  await Promise.all(acknowledged);
  return perUser;
}

function rssOf(pid: number): number {
  const { stdout } = Bun.spawnSync(['ps', '-o', 'rss=', '-p', String(pid)]);
  return Math.round(Number(stdout.toString()) / 1_024);
}

/** Of Linux, whose clock ticks 100 times a second there. */
function cpuSecondsOf(pid: number): number {
  const [, fields = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const values = fields.split(' ').map(Number);
  return ((values[11] ?? 0) + (values[12] ?? 0)) / 100;
}
