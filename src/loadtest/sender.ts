import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { UnreachableError } from './unreachable.ts';

/** A publishing connection with a bounded number of messages under way, at QoS 1. */
export interface Sender {
  /** Whether a message would go out now: connected, and fewer than `window` under way. */
  hasRoom(): boolean;
  readonly inFlight: number;
  readonly reconnects: number;
  /** How many publishes the broker refused (MQTT 5 reason codes): they are not sent again. */
  readonly refused: number;
  /** Call only while hasRoom(). `onAcknowledged` is called on PUBACK. */
  send(topic: string, payload: string, onAcknowledged: () => void): void;
  close(): Promise<void>;
}

export interface BrokerOptions {
  mqttUrl: string;
  /** 4 is MQTT 3.1.1, 5 is MQTT 5. */
  protocolVersion: 4 | 5;
}

export interface SenderOptions extends BrokerOptions {
  clientId: string;
  window: number;
}

const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * Connects for the first time, or throws UnreachableError. Later the client reconnects by itself,
 * for as long as it takes.
 */
export async function connectBroker(
  { mqttUrl, protocolVersion }: BrokerOptions,
  options: IClientOptions,
): Promise<MqttClient> {
  const client = mqtt.connect(mqttUrl, {
    protocolVersion,
    keepalive: 15,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // Spread out, so that many connections don't all knock at the same moment.
    reconnectPeriod: 300 + Math.floor(Math.random() * 300),
    ...options,
  });
  await new Promise<void>((resolve, reject) => {
    const settled = () => {
      clearTimeout(timer);
      client.off('connect', connected);
      client.off('error', failed);
    };
    const connected = () => {
      settled();
      resolve();
    };
    const failed = (error: Error) => {
      settled();
      client.on('error', () => {});
      client.end(true);
      reject(new UnreachableError(`--mqtt-url ${mqttUrl}: ${explain(error, protocolVersion)}`));
    };
    const seconds = CONNECT_TIMEOUT_MS / 1000;
    const timer = setTimeout(
      () => failed(new Error(`no answer in ${seconds} s; is the process running?`)),
      CONNECT_TIMEOUT_MS,
    );
    client.on('connect', connected);
    client.on('error', failed);
  });
  // Every failed attempt to reconnect is an error event; the progress line shows that it waits.
  client.on('error', () => {});
  return client;
}

function explain(error: Error & { code?: unknown }, version: 4 | 5): string {
  if (/protocol version/i.test(error.message)) {
    const [refused, other] = version === 5 ? ['5', '4'] : ['3.1.1', '5'];
    return `the broker refuses MQTT ${refused}; try --mqtt-version ${other}`;
  }
  if (error.code === 'ECONNREFUSED') return 'nothing listens there; start the process first';
  return error.message || String(error.code ?? 'the connection failed');
}

/**
 * Order and resending: mqtt.js keeps what is not acknowledged and, on a new connection, sends it
 * again one by one in its first order, and says `connect` only after the last. Between the loss of
 * a connection and that moment nothing new may go in: mqtt.js would give it the number of a message
 * that waits to be sent again.
 */
export async function createSender(options: SenderOptions): Promise<Sender> {
  const client = await connectBroker(options, { clientId: options.clientId, clean: true });
  let connected = true;
  let inFlight = 0;
  let reconnects = 0;
  let refused = 0;
  client.on('connect', () => {
    connected = true;
    reconnects++;
  });
  client.on('close', () => {
    connected = false;
  });
  return {
    hasRoom: () => connected && client.connected && inFlight < options.window,
    get inFlight() {
      return inFlight;
    },
    get reconnects() {
      return reconnects;
    },
    get refused() {
      return refused;
    },
    send(topic, payload, onAcknowledged) {
      inFlight++;
      client.publish(topic, payload, { qos: 1 }, (error) => {
        inFlight--;
        if (error) refused++;
        else onAcknowledged();
      });
    },
    close: () => endClient(client, inFlight > 0),
  };
}

/** Ends a client; by force where it waits for acknowledgements that won't come. */
export async function endClient(client: MqttClient, force: boolean): Promise<void> {
  await Promise.race([client.endAsync(force).catch(() => {}), Bun.sleep(CLOSE_TIMEOUT_MS)]);
}
