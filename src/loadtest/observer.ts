import type { MqttClient } from 'mqtt';
import { parseRfc3339 } from '../domain/time.ts';
import { nowMicros } from './clock.ts';
import type { Device } from './devices.ts';
import { createLatency, type Latency } from './latency.ts';
import { micros } from './queries.ts';
import type { Scope } from './scope.ts';
import { type BrokerOptions, connectBroker, endClient } from './sender.ts';
import { createStream } from './stream.ts';
import type { ReceivedTransition } from './verdict.ts';

/** A door by which alerts come in: what came, and how long after the reading was published. */
export interface Door {
  readonly transitions: readonly ReceivedTransition[];
  readonly latency: Latency;
  /** When something last came in, as performance.now(). */
  readonly lastAtMs: number;
}

export interface Observer {
  webSocket: Door;
  mqtt: Door;
  /** Publish -> stored, from the readings subscription of some devices. */
  stored: { latency: Latency; devices: number };
  reconnects(): { webSocket: number; mqtt: number };
  /** What a door says about itself when it delivers nothing; null when it has no complaint. */
  fault(): string | null;
  /** Begins to follow the readings of these devices. */
  sample(devices: readonly Device[]): void;
  close(): Promise<void>;
}

export interface ObserverOptions extends BrokerOptions {
  url: string;
  /** Only what is the run's counts. */
  scope: Scope;
  /** What the probe hears is left out of both doors: it shows that they are open. */
  onProbe: (door: 'webSocket' | 'mqtt') => void;
  /** Of the MQTT session. */
  clientId: string;
  /** The WebSocket begins behind this seq; by default with what comes from now on. */
  after?: number;
}

const ALERT_EVENTS = `subscription LoadTestAlertEvents($after: SafeInt) {
  alertEvents(after: $after) {
    seq type time alert { ruleId user { id } device { deviceId } }
  }
}`;

const READINGS = `subscription LoadTestReadings($userId: ID!, $deviceId: ID!) {
  readings(userId: $userId, deviceId: $deviceId) { time }
}`;

interface AlertEventsData {
  alertEvents: {
    seq: number;
    type: string;
    time: string;
    alert: { ruleId: string; user: { id: string }; device: { deviceId: string } };
  };
}

const SESSION_EXPIRY_SECONDS = 3600;

export async function createObserver(options: ObserverOptions): Promise<Observer> {
  const webSocket = createDoor();
  const mqtt = createDoor();
  const stored = { latency: createLatency(), devices: 0 };
  const stream = createStream(options);
  let lastSeq: number | null = options.after ?? null;
  let mqttReconnects = 0;

  function take(door: DoorTally, name: 'webSocket' | 'mqtt', transition: ReceivedTransition): void {
    if (options.scope.isProbe(transition)) options.onProbe(name);
    else if (options.scope.holds(transition)) door.add(transition);
  }

  stream.follow<AlertEventsData>({
    document: ALERT_EVENTS,
    variables: () => ({ after: lastSeq }),
    onData({ alertEvents: { seq, type, time, alert } }) {
      lastSeq = Math.max(seq, lastSeq ?? 0);
      if (type !== 'FIRED' && type !== 'RESOLVED') return;
      const { ruleId, user, device } = alert;
      take(webSocket, 'webSocket', {
        id: String(seq),
        userId: user.id,
        deviceId: device.deviceId,
        ruleId,
        type,
        time: micros(time),
      });
    },
  });

  const session = { clientId: options.clientId, topic: 'users/+/alerts' };
  const client = await openSession(options, session).catch(async (error: unknown) => {
    await stream.close();
    throw error;
  });
  client.on('message', (_topic, payload) => {
    const transition = readAlert(payload.toString());
    if (transition) take(mqtt, 'mqtt', transition);
  });
  client.on('connect', () => {
    mqttReconnects++;
  });

  return {
    webSocket,
    mqtt,
    stored,
    reconnects: () => ({ webSocket: stream.reconnects, mqtt: mqttReconnects }),
    fault: () => stream.fault,
    sample(devices) {
      stored.devices = devices.length;
      for (const { userId, deviceId } of devices) {
        stream.follow<{ readings: { time: string } }>({
          document: READINGS,
          variables: () => ({ userId, deviceId }),
          onData: ({ readings }) => stored.latency.record(nowMicros() - micros(readings.time)),
        });
      }
    },
    async close() {
      await Promise.all([stream.close(), closeSession(client, options, session)]);
    },
  };
}

type DoorTally = Door & { add(transition: ReceivedTransition): void };

/** A reading is dated with the moment of its publishing: latency is now minus event time. */
function createDoor(): DoorTally {
  const transitions: ReceivedTransition[] = [];
  const ids = new Set<string>();
  const latency = createLatency();
  let lastAtMs = 0;
  return {
    transitions,
    latency,
    get lastAtMs() {
      return lastAtMs;
    },
    add(transition) {
      // A redelivery says nothing about how long the first delivery took.
      if (!ids.has(transition.id)) latency.record(nowMicros() - transition.time);
      ids.add(transition.id);
      lastAtMs = performance.now();
      transitions.push(transition);
    },
  };
}

/** An MQTT alert as a transition; null for what is none: ACKNOWLEDGED, or somebody else's. */
export function readAlert(payload: string): ReceivedTransition | null {
  let alert: Record<string, unknown> | null;
  try {
    alert = JSON.parse(payload) as Record<string, unknown> | null;
  } catch {
    return null;
  }
  const type = alert?.type;
  const time = parseRfc3339(String(alert?.time));
  if (alert === null || (type !== 'FIRED' && type !== 'RESOLVED') || time === null) return null;
  return {
    id: String(alert.seq ?? alert.id),
    userId: String(alert.user_id),
    deviceId: String(alert.device_id),
    ruleId: String(alert.rule_id),
    type,
    time,
  };
}

interface Session {
  clientId: string;
  topic: string;
}

/** A session that outlives its connection: nothing is missed while the broker is away. */
async function openSession(options: BrokerOptions, session: Session): Promise<MqttClient> {
  const client = await connectBroker(options, {
    clientId: session.clientId,
    clean: false,
    ...(options.protocolVersion === 5
      ? { properties: { sessionExpiryInterval: SESSION_EXPIRY_SECONDS } }
      : {}),
  });
  await client.subscribeAsync(session.topic, { qos: 1 });
  return client;
}

/** Connects once more with a clean session, so that the broker keeps nothing for nobody. */
async function closeSession(
  client: MqttClient,
  options: BrokerOptions,
  { clientId }: Session,
): Promise<void> {
  await endClient(client, false);
  const cleaner = await connectBroker(options, { clientId, clean: true }).catch(() => null);
  if (cleaner) await endClient(cleaner, false);
}
