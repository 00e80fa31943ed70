import {
  createMessageMethods,
  createRetainedMethods,
  createSubscriptionMethods,
  createWillMethods,
  forgetSession,
  type StoreParts,
} from './aedes-methods.ts';
import { createBacklogs } from './backlog.ts';
import { createFilterIndex } from './filters.ts';
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

export type Persistence = ReturnType<typeof createPersistence>;

const MAX_SECURED = 100_000;

/**
 * The broker's sessions, subscriptions, retained messages, queues and wills, in one SQLite file. It
 * is a persistence as aedes-persistence 11 describes it, whose own suite runs on it, and what the
 * broker needs besides.
 *
 * @throws StartError when the file is in use or unusable
 */
export function createPersistence(options: PersistenceOptions) {
  const parts = openParts(options);
  const { db, group, tables, index, outgoing, secured } = parts;
  return {
    async setup(broker: { id: string }): Promise<void> {
      parts.broker = broker;
    },
    get broker() {
      return parts.broker;
    },
    async destroy(): Promise<void> {
      if (parts.closed) throw new Error('destroyed called twice!');
      parts.closed = true;
      try {
        group.close();
      } finally {
        db.close();
      }
    },
    ...createRetainedMethods(parts),
    ...createSubscriptionMethods(parts),
    ...createMessageMethods(parts),
    ...createWillMethods(parts),
    ...createSessionMethods(parts),
    backlogs: parts.backlogs,

    /**
     * Writes a QoS 1 message's retained copy and its queue entries before aedes sends the PUBACK,
     * which it does before it stores anything. Null when there is nothing to write; the message
     * must have its brokerId and brokerCounter.
     */
    secure(packet: BrokerPacket): Promise<void> | null {
      const subs = index.match(packet.topic ?? '');
      if (subs.length === 0 && !packet.retain) return null;
      if (packet.retain) tables.storeRetained({ ...packet, cmd: 'publish' });
      // To a subscription that was there it is no retained message [MQTT-3.3.1-9].
      const queued = { ...packet, dup: false, retain: false };
      for (const { owner } of subs) outgoing.enqueue(owner, queued);
      secured.add(packet.brokerCounter as number);
      // aedes drops a message without a word when its connection ends before the PUBACK is out.
      if (secured.size > MAX_SECURED) secured.delete(secured.values().next().value as number);
      return group.durable();
    },
    /** Ends what `secure` began: aedes is done with the message. */
    release: (packet: BrokerPacket) => secured.delete(packet.brokerCounter as number),
    /** Whether a session's queue takes messages of a topic. */
    isQueuedFor: (clientId: string, topic: string) =>
      index.match(topic).some(({ owner }) => owner === clientId),
    /** Whether a QoS 2 message with this id was taken in and its PUBREL hasn't come. */
    hasIncoming: (clientId: string, messageId: number | undefined) =>
      !parts.closed && tables.incoming(clientId, messageId) !== undefined,
    /** Whether a client's session is kept already, or there is room for another one. */
    hasRoomForSession: (clientId: string, maxSessions: number) =>
      tables.hasSession(clientId) || tables.countSessions() < maxSessions,
    /** Whether this message fits among those retained, in place of the one of its topic. */
    hasRoomForRetained(packet: BrokerPacket, maxBytes: number): boolean {
      const { topic = '', payload = '' } = packet;
      const bytes = Buffer.byteLength(payload);
      if (bytes === 0) return true;
      const after = tables.retainedBytes() - tables.retainedSize(topic);
      return after + Buffer.byteLength(topic) + bytes <= maxBytes;
    },
    counts: () =>
      parts.closed
        ? { sessions: 0, queuedMessages: 0 }
        : { sessions: tables.countSessions(), queuedMessages: outgoing.messages },
  };
}

function openParts(options: PersistenceOptions): StoreParts {
  const db = openSessionFile(options.file);
  const group = createWriteGroup(db, {
    onRollback(error) {
      reload();
      options.onWriteError?.(error);
    },
  });
  const tables = createSessionTables(db, group);
  const limits = {
    maxQueuedMessages: options.maxQueuedMessages ?? 100_000,
    maxQueuedBytes: options.maxQueuedBytes ?? 256 * 1024 * 1024,
  };
  const outgoing = createOutgoingQueues(db, group, limits, options.onDropped ?? (() => {}));
  const index = createFilterIndex<Subscription>();
  const parts: StoreParts = {
    ...{ db, group, tables, index, outgoing },
    backlogs: createBacklogs(outgoing, () => (parts.closed ? null : parts.broker?.id)),
    secured: new Set(),
    broker: undefined,
    closed: false,
  };

  function reload(): void {
    tables.countAgain();
    outgoing.reload();
    index.clear();
    for (const { clientId, subscription } of tables.allSubscriptions()) {
      if (subscription.qos > 0) index.set(subscription.topic, clientId, subscription);
    }
  }
  reload();
  return parts;
}

/** Who is connected since when, and the end of sessions that stay away. */
function createSessionMethods(parts: StoreParts) {
  const { tables } = parts;
  return {
    sessionConnected(clientId: string, clean: boolean): void {
      if (!parts.closed) tables.sessionConnected(clientId, clean);
    },
    sessionDisconnected(clientId: string, nowMs: number): void {
      if (!parts.closed) tables.sessionDisconnected(clientId, nowMs);
    },
    /** Notes the sessions that a killed process left behind as disconnected now. */
    adoptSessions: (nowMs: number) => tables.adoptSessions(nowMs),
    /** Forgets sessions that were disconnected before a time. Returns how many. */
    async expireSessions(beforeMs: number): Promise<number> {
      let expired = 0;
      for (const clientId of tables.expiredSessions(beforeMs)) {
        // It may have come back while the one before was being deleted.
        if (parts.closed || !tables.isExpired(clientId, beforeMs)) continue;
        tables.deleteSession(clientId);
        tables.deleteAllIncoming(clientId);
        await forgetSession(parts, clientId);
        expired++;
      }
      return expired;
    },
  };
}
