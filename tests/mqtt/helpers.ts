import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import type { LogAppender, LogMessage } from '../../src/domain/log.ts';
import { compileTopic } from '../../src/domain/topic.ts';
import { model } from '../../src/model.ts';
import { type Broker, type BrokerOptions, startBroker } from '../../src/mqtt/broker.ts';

export const telemetry = compileTopic(model);
export const topicOf = (deviceId: string) => telemetry.format({ userId: 'u', deviceId });

/** What a test started, ended in reverse order by `end`. */
export class Cleanup {
  readonly #steps: (() => unknown)[] = [];

  add(step: () => unknown): void {
    this.#steps.push(step);
  }

  async end(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) await step();
  }

  folder(): string {
    const path = mkdtempSync(join(tmpdir(), 'pulsegraph-mqtt-'));
    this.add(() => rmSync(path, { recursive: true, force: true }));
    return path;
  }

  async broker(options: Partial<BrokerOptions> = {}): Promise<Broker> {
    const broker = await startBroker({
      port: 0,
      dataFile: options.dataFile ?? join(this.folder(), 'mqtt.sqlite'),
      appender: memoryLog().appender,
      telemetry,
      maxPayloadBytes: 64 * 1024,
      logger: recordingLogger().logger,
      ...options,
    });
    this.add(() => broker.close());
    return broker;
  }

  /** A connected mqtt.js client that doesn't come back by itself. */
  async client(url: string, options: IClientOptions = {}): Promise<MqttClient> {
    const client = mqtt.connect(url, { reconnectPeriod: 0, protocolVersion: 4, ...options });
    client.on('error', () => {});
    this.add(() => client.end(true));
    await new Promise<void>((resolve, reject) => {
      client.once('connect', () => resolve());
      client.once('error', reject);
      client.once('close', () => reject(new Error('closed before CONNACK')));
    });
    return client;
  }

  async tcp(port: number): Promise<Socket> {
    const socket = connectTcp(port, '127.0.0.1');
    socket.on('error', () => {});
    this.add(() => socket.destroy());
    await new Promise((resolve) => socket.once('connect', resolve));
    return socket;
  }
}

/** A log in memory. `hold` makes appends wait until `release`; `fail` makes some or all reject. */
export function memoryLog() {
  const messages: LogMessage[] = [];
  let gate: PromiseWithResolvers<void> | null = null;
  let error: Error | null = null;
  let failing: (text: string) => boolean = () => true;
  let waiting = 0;
  const appender: LogAppender = {
    async append(message) {
      // The bytes belong to the connection's buffer: a log copies what it keeps.
      messages.push({ ...message, value: Uint8Array.from(message.value) });
      waiting++;
      await gate?.promise;
      waiting--;
      if (error && failing(Buffer.from(message.value).toString())) throw error;
    },
  };
  return {
    appender,
    messages,
    texts: () => messages.map(({ value }) => Buffer.from(value).toString()),
    waiting: () => waiting,
    hold() {
      gate = Promise.withResolvers();
    },
    release() {
      gate?.resolve();
      gate = null;
    },
    fail(reason: Error | null, which: (text: string) => boolean = () => true) {
      error = reason;
      failing = which;
    },
  };
}

export interface LogLine {
  level: string;
  fields: Record<string, unknown>;
  message: string;
}

export function recordingLogger() {
  const lines: LogLine[] = [];
  const at = (level: string) => (fields: unknown, message?: string) => {
    lines.push({ level, fields: fields as Record<string, unknown>, message: message ?? '' });
  };
  const logger = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  return { logger: logger as BrokerOptions['logger'], lines };
}

/** Polls until a condition holds. @throws Error that says what didn't come */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  withinMs = 5_000,
): Promise<void> {
  const deadlineMs = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await Bun.sleep(5);
  }
}

/** Collects the messages that a client gets. */
export function inbox(client: MqttClient) {
  const messages: { topic: string; text: string; retain: boolean }[] = [];
  client.on('message', (topic, payload, packet) => {
    messages.push({ topic, text: payload.toString(), retain: packet.retain });
  });
  return { messages, texts: () => messages.map(({ text }) => text) };
}

/** Resolves with everything a socket sends until it closes. */
export function bytesUntilClose(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(Buffer.from(chunk)));
  return new Promise((resolve) => socket.once('close', () => resolve(Buffer.concat(chunks))));
}
