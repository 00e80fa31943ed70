import type { Client } from 'aedes';
import type { LogAppender } from '../domain/log.ts';
import { deviceKey, type TopicPattern } from '../domain/topic.ts';
import type { InFlight } from './in-flight.ts';
import type { Inflow } from './inflow.ts';
import type { Persistence } from './persistence.ts';
import type { BrokerPacket } from './stored-packet.ts';

export interface IngestDeps {
  appender: LogAppender;
  telemetry: TopicPattern;
  persistence: Persistence;
  /** Why a client may not publish this; null where it may. */
  refusal(client: Client, packet: BrokerPacket): Error | null;
  /** The connection's line; undefined for a message that no connection sent (an old will). */
  inflowOf(client: Client | null): Inflow | undefined;
  /** Of all connections. */
  inFlight: InFlight;
  /** The broker's next number for a message, and its id. */
  identity(): { brokerId: string; brokerCounter: number };
  /** Called once for a connection whose message couldn't be made durable. */
  onFailure(client: Client | null, packet: BrokerPacket, error: unknown): void;
}

export interface Ingest {
  /** aedes' authorizePublish: it acknowledges the message when `done` is called without error. */
  authorizePublish(
    client: Client | null,
    packet: BrokerPacket,
    done: (error?: Error | null) => void,
  ): void;
  /** aedes' published: the message has gone to every subscriber. */
  published(
    packet: BrokerPacket,
    client: Client | null,
    done: (error?: Error | null) => void,
  ): void;
  stats(): { appended: number; appendFailures: number };
}

/**
 * The way into the log. A message is acknowledged when it is durable and so is every message before
 * it on its connection; they are written at the same time, in the order they came.
 */
export function createIngest(deps: IngestDeps): Ingest {
  const { appender, telemetry, persistence, inFlight } = deps;
  // QoS 2 messages on their way into the log, so that one sent again doesn't get in twice.
  const appending = new Map<string, Promise<void>>();
  const stats = { appended: 0, appendFailures: 0 };

  async function append(packet: BrokerPacket): Promise<void> {
    const topic = packet.topic ?? '';
    const names = telemetry.match(topic);
    const key = names && deviceKey(names);
    await appender.append({ topic, key, value: bytesOf(packet) });
    stats.appended++;
  }

  function appendOnce(client: Client, packet: BrokerPacket): Promise<void> | null {
    if (persistence.hasIncoming(client.id, packet.messageId)) return null;
    const id = `${packet.messageId} ${client.id}`;
    const underWay = appending.get(id);
    if (underWay) return underWay;
    const work = append(packet).finally(() => appending.delete(id));
    appending.set(id, work);
    return work;
  }

  /** Begins what must be on disk before the acknowledgement. Null when there is nothing. */
  function secure(client: Client | null, packet: BrokerPacket): Promise<unknown> | null {
    const topic = packet.topic ?? '';
    let appended: Promise<void> | null = null;
    if (telemetry.match(topic) !== null || telemetry.resembles(topic)) {
      appended = packet.qos === 2 && client ? appendOnce(client, packet) : append(packet);
    }
    if (packet.qos !== 1) return appended;
    // aedes keeps this identity, by which the persistence knows the message again.
    Object.assign(packet, deps.identity());
    const stored = persistence.secure(packet);
    return appended && stored ? Promise.all([appended, stored]) : (appended ?? stored);
  }

  function authorizePublish(
    client: Client | null,
    packet: BrokerPacket,
    done: (error?: Error | null) => void,
  ): void {
    if (packet.topic?.startsWith('$SYS/')) {
      done(new Error('$SYS/ topics are the broker’s own'));
      return;
    }
    // An error ends the connection: MQTT 3.1.1 can't refuse a PUBLISH, and an answer would promise it.
    const refusal = client && deps.refusal(client, packet);
    if (refusal) {
      done(refusal);
      return;
    }
    const inflow = deps.inflowOf(client);
    const size = bytesOf(packet).length;
    inflow?.enter(size);
    const failed = (error: unknown) => {
      if (!inflow?.failed) {
        stats.appendFailures++;
        deps.onFailure(client, packet, error);
      }
      if (inflow) inflow.failed = true;
      done(error instanceof Error ? error : new Error(String(error)));
    };
    let work: Promise<unknown> | null;
    try {
      work = secure(client, packet);
    } catch (error) {
      failed(error);
      return;
    }
    // Waited for in turn below; until then a failure has nobody else to tell.
    work?.catch(() => {});
    inFlight.enter(size);
    const settle = async (before?: Promise<void>) => {
      await before;
      try {
        await work;
        if (inflow?.failed) throw new Error('an earlier message of the connection failed');
      } catch (error) {
        failed(error);
        return;
      } finally {
        inFlight.leave(size);
      }
      // aedes answers a QoS 2 message that it has with PUBREC alone: it publishes nothing.
      if (packet.qos === 2 && client && persistence.hasIncoming(client.id, packet.messageId)) {
        inflow?.leave(size);
      }
      done(null);
    };
    const settled = settle(inflow?.tail);
    if (inflow) inflow.tail = settled;
  }

  function published(
    packet: BrokerPacket,
    client: Client | null,
    done: (error?: Error | null) => void,
  ): void {
    persistence.release(packet);
    // What the broker itself publishes ($SYS) never came in by a connection's line.
    if (client && !packet.topic?.startsWith('$SYS/')) {
      deps.inflowOf(client)?.leave(bytesOf(packet).length);
    }
    done(null);
  }

  return { authorizePublish, published, stats: () => ({ ...stats }) };
}

function bytesOf(packet: BrokerPacket): Uint8Array {
  const payload = packet.payload ?? '';
  return typeof payload === 'string' ? Buffer.from(payload) : payload;
}
