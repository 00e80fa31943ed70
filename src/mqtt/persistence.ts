import { Readable } from 'node:stream';
import { createBacklogs } from './backlog.ts';
import { createFilterIndex, filterMatches, literalPrefix } from './filters.ts';
import { createOutgoingQueues } from './outgoing.ts';
import { openSessionFile } from './session-file.ts';
import { createSessionTables, type Subscription } from './session-tables.ts';
import type { BrokerPacket } from './stored-packet.ts';
import { createWriteGroup } from './write-group.ts';

export interface PersistenceOptions {
  /** The SQLite file; made when it isn't there. */
  file: string;
  /** A session's queue drops its oldest message above this; default 100,000. */
  maxQueuedMessages?: number;
  /** The same by size, with about 100 bytes for each message's fields; default 256 MiB. */
  maxQueuedBytes?: number;
  /** Called for every message that a full queue dropped. */
  onDropped?: (clientId: string) => void;
  /** Called when a commit failed and was rolled back: a full or broken disk. */
  onWriteError?: (error: unknown) => void;
}

interface Client {
  id: string;
}
interface BrokerIdentity {
  id: string;
}

export type Persistence = ReturnType<typeof createPersistence>;

const EXPIRY_CHUNK = 5_000;
const MAX_SECURED = 100_000;

/**
 * The broker's sessions, subscriptions, retained messages, queues and wills, in one SQLite file.
 * The methods with aedes' names are its persistence interface (aedes-persistence 11), whose own
 * suite runs on it. A promise that something acknowledged depends on resolves once that is on disk;
 * what may be lost without harm (the id of a QoS 1 message in flight, a PUBACK) isn't waited for.
 *
 * @throws StartError when the file is in use or unusable
 */
export function createPersistence(options: PersistenceOptions) {
  const db = openSessionFile(options.file);
  const group = createWriteGroup(db, {
    onRollback(error) {
      reload();
      options.onWriteError?.(error);
    },
  });
  const tables = createSessionTables(db, group);
  const outgoing = createOutgoingQueues(
    db,
    group,
    {
      maxQueuedMessages: options.maxQueuedMessages ?? 100_000,
      maxQueuedBytes: options.maxQueuedBytes ?? 256 * 1024 * 1024,
    },
    options.onDropped ?? (() => {}),
  );
  let index = createFilterIndex<Subscription>();
  // Messages whose queues and retained copy were written before their PUBACK.
  const secured = new Set<number>();
  function noteSecured(brokerCounter: number): void {
    secured.add(brokerCounter);
    // aedes drops a message without a word when its connection ends before the PUBACK is out.
    if (secured.size > MAX_SECURED) secured.delete(secured.values().next().value as number);
  }
  let broker: BrokerIdentity | undefined;
  let closed = false;
  const backlogs = createBacklogs(outgoing, () => (closed ? null : broker?.id));

  function reload(): void {
    outgoing.reload();
    index = createFilterIndex();
    for (const { clientId, subscription } of tables.allSubscriptions()) {
      if (subscription.qos > 0) index.set(subscription.topic, clientId, subscription);
    }
  }
  reload();

  function forgetSubscriptions(clientId: string): void {
    for (const { topic } of tables.subscriptions(clientId)) index.delete(topic, clientId);
    tables.deleteSubscriptions(clientId);
  }

  async function dropQueue(clientId: string): Promise<void> {
    while (!closed && outgoing.drop(clientId, EXPIRY_CHUNK)) await group.durable();
  }

  /** Puts a message into the queues of the sessions that want it. */
  function enqueueAll(subs: { clientId: string }[], packet: BrokerPacket): void {
    for (const { clientId } of subs) outgoing.enqueue(clientId, packet);
  }

  function* retained(patterns: string[]): Generator<BrokerPacket> {
    for (const pattern of patterns) {
      if (closed) return;
      for (const topic of tables.retainedTopics(literalPrefix(pattern))) {
        if (closed) return;
        if (!filterMatches(pattern, topic)) continue;
        const packet = tables.retained(topic);
        if (packet) yield packet;
      }
    }
  }

  return {
    async setup(owner: BrokerIdentity): Promise<void> {
      broker = owner;
    },
    get broker() {
      return broker;
    },

    // ---- retained messages
    async storeRetained(packet: BrokerPacket): Promise<void> {
      if (packet.brokerCounter !== undefined && secured.has(packet.brokerCounter)) return;
      tables.storeRetained(packet);
      await group.durable();
    },
    createRetainedStream: (pattern: string) => Readable.from(retained([pattern])),
    createRetainedStreamCombi: (patterns: string[]) => Readable.from(retained(patterns)),

    // ---- subscriptions
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
    async cleanSubscriptions(client: Client): Promise<void> {
      forgetSubscriptions(client.id);
      await dropQueue(client.id);
      await group.durable();
    },
    async countOffline() {
      return { subsCount: index.size, clientsCount: tables.countSubscribers() };
    },
    getClientList: (filter: string) => Readable.from(tables.subscribersOf(filter)),

    // ---- QoS 1 and 2, outgoing
    async outgoingEnqueue(sub: { clientId: string }, packet: BrokerPacket): Promise<void> {
      enqueueAll([sub], packet);
      await group.durable();
    },
    async outgoingEnqueueCombi(subs: { clientId: string }[], packet: BrokerPacket): Promise<void> {
      if (subs.length === 0) return;
      if (packet.brokerCounter !== undefined && secured.has(packet.brokerCounter)) return;
      enqueueAll(subs, packet);
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

    // ---- QoS 2, incoming
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
      if (!closed && client.id) tables.deleteAllIncoming(client.id);
    },

    // ---- wills
    async putWill(client: Client, packet: BrokerPacket): Promise<void> {
      packet.brokerId = broker?.id;
      packet.clientId = client.id;
      tables.storeWill(client.id, packet);
      await group.durable();
    },
    async getWill(client: Client) {
      return tables.will(client.id);
    },
    async delWill(client: Client) {
      if (closed) return undefined;
      return tables.deleteWill(client.id);
    },
    streamWill: (alive: Record<string, unknown> = {}) =>
      Readable.from(tables.wills().filter((will) => !alive[will.brokerId ?? ''])),

    async destroy(): Promise<void> {
      if (closed) throw new Error('destroyed called twice!');
      closed = true;
      try {
        group.close();
      } finally {
        db.close();
      }
    },

    // ---- what the broker uses beside aedes
    backlogs,
    /**
     * Writes a QoS 1 message's retained copy and its queue entries before aedes sends the PUBACK,
     * which it does before it stores anything. Null when there is nothing to write; the message
     * must have its brokerId and brokerCounter.
     */
    secure(packet: BrokerPacket): Promise<void> | null {
      const subs = index.match(packet.topic ?? '');
      if (subs.length === 0 && !packet.retain) return null;
      if (packet.retain) tables.storeRetained({ ...packet, cmd: 'publish' });
      for (const { owner } of subs) outgoing.enqueue(owner, { ...packet, dup: false });
      noteSecured(packet.brokerCounter as number);
      return group.durable();
    },
    /** Ends what `secure` began: aedes is done with the message. */
    release: (packet: BrokerPacket) => secured.delete(packet.brokerCounter as number),
    /** Whether a session's queue takes messages of a topic. */
    isQueuedFor: (clientId: string, topic: string) =>
      index.match(topic).some(({ owner }) => owner === clientId),
    hasIncoming: (clientId: string, messageId: number | undefined) =>
      tables.incoming(clientId, messageId) !== undefined,
    sessionConnected(clientId: string, clean: boolean): void {
      if (!closed) tables.sessionConnected(clientId, clean);
    },
    sessionDisconnected(clientId: string, nowMs: number): void {
      if (!closed) tables.sessionDisconnected(clientId, nowMs);
    },
    /** Notes the sessions that a killed process left behind as disconnected now. */
    adoptSessions: (nowMs: number) => tables.adoptSessions(nowMs),
    /** Forgets sessions that were disconnected before a time. Returns how many. */
    async expireSessions(beforeMs: number): Promise<number> {
      const expired = tables.expiredSessions(beforeMs);
      for (const clientId of expired) {
        if (closed) break;
        forgetSubscriptions(clientId);
        tables.deleteAllIncoming(clientId);
        tables.deleteSession(clientId);
        await dropQueue(clientId);
      }
      return expired.length;
    },
    counts: () => ({ sessions: tables.countSessions(), queuedMessages: outgoing.messages }),
  };
}
