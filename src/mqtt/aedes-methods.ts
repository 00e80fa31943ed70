import type { Database } from 'bun:sqlite';
import { Readable } from 'node:stream';
import type { Backlogs } from './backlog.ts';
import { type FilterIndex, filterMatches, literalPrefix } from './filters.ts';
import type { OutgoingQueues } from './outgoing.ts';
import type { SessionTables, Subscription } from './session-tables.ts';
import type { BrokerPacket } from './stored-packet.ts';
import type { WriteGroup } from './write-group.ts';

/**
 * The persistence that aedes calls: names and meaning are those of aedes-persistence 11. A promise
 * that something acknowledged depends on resolves once that is on disk; what may be lost without
 * harm (the id of a QoS 1 message in flight, a PUBACK) isn't waited for.
 */

export interface StoreParts {
  readonly db: Database;
  readonly group: WriteGroup;
  readonly tables: SessionTables;
  /** Subscriptions of QoS 1 and 2: whose messages are queued. */
  readonly index: FilterIndex<Subscription>;
  readonly outgoing: OutgoingQueues;
  readonly backlogs: Backlogs;
  /** Messages (brokerCounter) that were written before their PUBACK: not to be written again. */
  readonly secured: Set<number>;
  broker: { id: string } | undefined;
  closed: boolean;
}

interface Client {
  id: string;
}

/** A queue is deleted in parts, so that a long one doesn't hold everybody up. */
const DELETE_CHUNK = 5_000;

/** Deletes a session's subscriptions and its queue. */
export async function forgetSession(parts: StoreParts, clientId: string): Promise<void> {
  const { tables, index, outgoing, group } = parts;
  for (const { topic } of tables.subscriptions(clientId)) index.delete(topic, clientId);
  tables.deleteSubscriptions(clientId);
  while (!parts.closed && outgoing.drop(clientId, DELETE_CHUNK)) await group.durable();
  await group.durable();
}

function isSecured({ secured }: StoreParts, packet: BrokerPacket): boolean {
  return packet.brokerCounter !== undefined && secured.has(packet.brokerCounter);
}

export function createRetainedMethods(parts: StoreParts) {
  const { tables, group } = parts;
  function* retained(patterns: string[]): Generator<BrokerPacket> {
    for (const pattern of patterns) {
      if (parts.closed) return;
      for (const topic of tables.retainedTopics(literalPrefix(pattern))) {
        if (parts.closed) return;
        if (!filterMatches(pattern, topic)) continue;
        const packet = tables.retained(topic);
        if (packet) yield packet;
      }
    }
  }
  return {
    async storeRetained(packet: BrokerPacket): Promise<void> {
      if (isSecured(parts, packet)) return;
      tables.storeRetained(packet);
      await group.durable();
    },
    createRetainedStream: (pattern: string) => Readable.from(retained([pattern])),
    createRetainedStreamCombi: (patterns: string[]) => Readable.from(retained(patterns)),
  };
}

export function createSubscriptionMethods(parts: StoreParts) {
  const { tables, group, index } = parts;
  return {
    async addSubscriptions(client: Client, subs: Subscription[]): Promise<void> {
      for (const sub of subs) {
        tables.storeSubscription(client.id, sub);
        if (sub.qos > 0) index.set(sub.topic, client.id, sub);
        else index.delete(sub.topic, client.id);
      }
      await group.durable();
    },
    async removeSubscriptions(client: Client, filters: string[]): Promise<void> {
      for (const filter of filters) {
        tables.deleteSubscription(client.id, filter);
        index.delete(filter, client.id);
      }
      await group.durable();
    },
    async subscriptionsByClient(client: Client): Promise<Subscription[]> {
      return tables.subscriptions(client.id);
    },
    async subscriptionsByTopic(topic: string) {
      return index.match(topic).map(({ filter, owner, value }) => ({
        clientId: owner,
        topic: filter,
        qos: value.qos,
        rh: value.rh,
        rap: value.rap,
        nl: value.nl,
      }));
    },
    /** At a CONNECT with clean session: the queue is part of what it ends. */
    cleanSubscriptions: (client: Client) => forgetSession(parts, client.id),
    async countOffline() {
      return { subsCount: index.size, clientsCount: tables.countSubscribers() };
    },
    getClientList: (filter: string) => Readable.from(tables.subscribersOf(filter)),
  };
}

/** QoS 1 and 2 messages on their way out, and QoS 2 messages on their way in. */
export function createMessageMethods(parts: StoreParts) {
  const { tables, group, outgoing, backlogs } = parts;
  return {
    async outgoingEnqueue(sub: { clientId: string }, packet: BrokerPacket): Promise<void> {
      outgoing.enqueue(sub.clientId, packet);
      await group.durable();
    },
    async outgoingEnqueueCombi(subs: { clientId: string }[], packet: BrokerPacket): Promise<void> {
      if (subs.length === 0 || isSecured(parts, packet)) return;
      const queued = { ...packet, retain: false };
      for (const { clientId } of subs) outgoing.enqueue(clientId, queued);
      await group.durable();
    },
    async outgoingUpdate(client: Client, packet: BrokerPacket): Promise<void> {
      if (!outgoing.update(client.id, packet)) throw new Error('no such packet');
      // A QoS 2 flow must go on with the same id after a crash; a QoS 1 message may get another.
      if (packet.qos === 2 || packet.cmd === 'pubrel') await group.durable();
    },
    async outgoingClearMessageId(client: Client, packet: BrokerPacket) {
      if (packet.messageId === undefined) return undefined;
      return outgoing.clear(client.id, packet.messageId);
    },
    outgoingStream: (client: Client) => Readable.from(backlogs.read(client)),

    async incomingStorePacket(client: Client, packet: BrokerPacket): Promise<void> {
      tables.storeIncoming(client.id, packet);
      await group.durable();
    },
    async incomingGetPacket(client: Client, packet: BrokerPacket): Promise<BrokerPacket> {
      const found = tables.incoming(client.id, packet.messageId);
      if (!found) throw new Error('no such packet');
      return found;
    },
    async incomingDelPacket(client: Client, packet: BrokerPacket): Promise<void> {
      if (!tables.deleteIncoming(client.id, packet.messageId)) throw new Error('no such packet');
    },
    async cleanIncoming(client: Client): Promise<void> {
      // A connection that never got as far as a client id is cleaned up as well.
      if (!parts.closed && client.id) tables.deleteAllIncoming(client.id);
    },
  };
}

export function createWillMethods(parts: StoreParts) {
  const { tables, group } = parts;
  return {
    async putWill(client: Client, packet: BrokerPacket): Promise<void> {
      packet.brokerId = parts.broker?.id;
      packet.clientId = client.id;
      tables.storeWill(client.id, packet);
      await group.durable();
    },
    async getWill(client: Client) {
      return tables.will(client.id);
    },
    async delWill(client: Client) {
      return parts.closed ? undefined : tables.deleteWill(client.id);
    },
    streamWill: (alive: Record<string, unknown> = {}) =>
      Readable.from(tables.wills().filter((will) => !alive[will.brokerId ?? ''])),
  };
}
