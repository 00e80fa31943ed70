import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { generate } from 'mqtt-packet';

/** Publishes at QoS 1 over bare sockets: a client library would take a core for itself. */
export interface MqttLoad {
  /** Resolves when everything is acknowledged. */
  publish(options: PublishOptions): Promise<Published>;
  close(): void;
}

export interface PublishOptions {
  /** Messages a second; Infinity sends as fast as `window` allows. */
  rate: number;
  count: number;
  /** Messages that a connection may have under way. Default 1,000. */
  window?: number;
  message(index: number): LoadMessage;
}

export interface LoadMessage {
  topic: string;
  payload: string;
  /** Messages of one lane go over one connection, in order. */
  lane: number;
}

export interface Published {
  seconds: number;
  /** By index, of performance.now(): when the message went out, and when its PUBACK came. */
  sentAt: Float64Array;
  acknowledgedAt: Float64Array;
}

interface Connection {
  socket: Socket;
  inFlight: number;
  nextId: number;
  /** The message under each packet id. */
  indexes: Int32Array;
}

const TICK_MS = 1;
const IDS = 65_535;
const ACKNOWLEDGED_WITHIN_MS = 60_000;

export async function connectLoad(url: string, connections: number): Promise<MqttLoad> {
  const all = await Promise.all(
    Array.from({ length: connections }, (_, n) => openConnection(url, `bench-${process.pid}-${n}`)),
  );
  let acknowledge: (index: number) => void = () => {};
  let fault: Error | null = null;
  for (const one of all) {
    followAcknowledgements(one, (index) => acknowledge(index));
    one.socket.on('error', (error) => {
      fault = error;
    });
    one.socket.on('close', () => {
      fault ??= new Error(`${url} has closed a connection`);
    });
  }

  return {
    async publish({ rate, count, window = 1_000, message }) {
      const sentAt = new Float64Array(count);
      const acknowledgedAt = new Float64Array(count);
      let left = count;
      const done = Promise.withResolvers<void>();
      acknowledge = (index) => {
        acknowledgedAt[index] = performance.now();
        if (--left === 0) done.resolve();
      };
      const started = performance.now();
      let next: LoadMessage | null = null;
      for (let sent = 0; sent < count; await sleep(TICK_MS)) {
        if (fault) throw fault;
        const planned = ((performance.now() - started) / 1_000) * rate;
        for (const one of all) one.socket.cork();
        while (sent < Math.min(count, planned)) {
          next ??= message(sent);
          const connection = all[next.lane % connections] as Connection;
          // The others wait with it: what is sent late shows in the rate, not as a reordering.
          if (connection.inFlight >= window) break;
          sentAt[sent] = performance.now();
          send(connection, next, sent++);
          next = null;
        }
        for (const one of all) one.socket.uncork();
      }
      const timer = setTimeout(
        () => done.reject(new Error(`${left} of ${count} messages are not acknowledged`)),
        ACKNOWLEDGED_WITHIN_MS,
      );
      await done.promise.finally(() => clearTimeout(timer));
      return { seconds: (performance.now() - started) / 1_000, sentAt, acknowledgedAt };
    },
    close() {
      for (const { socket } of all) socket.destroy();
    },
  };
}

async function openConnection(url: string, clientId: string): Promise<Connection> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname).setNoDelay(true);
  await once(socket, 'connect');
  const connected = once(socket, 'data');
  socket.write(generate({ cmd: 'connect', clientId, clean: true, keepalive: 0 }));
  const [connack] = (await connected) as [Buffer];
  if (connack[0] !== 0x20 || connack[3] !== 0) throw new Error(`${url} refuses a connection`);
  return { socket, inFlight: 0, nextId: 1, indexes: new Int32Array(IDS + 1) };
}

/** A publisher is sent nothing else, so all that comes is four bytes each. */
function followAcknowledgements(connection: Connection, tell: (index: number) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  connection.socket.on('data', (data: Buffer) => {
    const bytes = rest.length === 0 ? data : Buffer.concat([rest, data]);
    let at = 0;
    for (; at + 4 <= bytes.length; at += 4) {
      if (bytes[at] !== 0x40) {
        connection.socket.destroy(new Error(`a packet that is no PUBACK: ${bytes[at]}`));
        return;
      }
      connection.inFlight--;
      tell(connection.indexes[bytes.readUInt16BE(at + 2)] as number);
    }
    rest = bytes.subarray(at);
  });
}

function send(connection: Connection, { topic, payload }: LoadMessage, index: number): void {
  const messageId = connection.nextId;
  connection.nextId = messageId === IDS ? 1 : messageId + 1;
  connection.indexes[messageId] = index;
  connection.inFlight++;
  const qos = 1;
  connection.socket.write(
    generate({ cmd: 'publish', topic, payload, qos, messageId, dup: false, retain: false }),
  );
}
