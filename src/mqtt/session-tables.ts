import type { Database } from 'bun:sqlite';
import {
  type BrokerPacket,
  restoredPacket,
  type StoredPacket,
  storedPacket,
} from './stored-packet.ts';
import type { WriteGroup } from './write-group.ts';

export interface Subscription {
  topic: string;
  qos: number;
  rh?: number;
  rap?: boolean;
  nl?: boolean;
  subscriptionIdentifier?: number;
}

type Payload = StoredPacket['payload'];

export type SessionTables = ReturnType<typeof createSessionTables>;

/** Every table of the session file but the queues: one method for one statement. */
export function createSessionTables(db: Database, group: WriteGroup) {
  const { write } = group;
  const query = <R>(sql: string) => db.query<R, (string | number | Payload)[]>(sql);

  const putRetained = query(
    'INSERT OR REPLACE INTO retained (topic, fields, payload) VALUES (?, ?, ?)',
  );
  const deleteRetained = query('DELETE FROM retained WHERE topic = ?');
  const getRetained = query<StoredPacket>('SELECT fields, payload FROM retained WHERE topic = ?');
  const listRetained = query<{ topic: string }>(
    'SELECT topic FROM retained WHERE topic >= ? AND topic < ? ORDER BY topic',
  );

  const retainedSize = query<{ size: number }>(
    'SELECT length(CAST(topic AS BLOB)) + length(payload) AS size FROM retained WHERE topic = ?',
  );
  const retainedTotal = query<{ size: number | null }>(
    'SELECT sum(length(CAST(topic AS BLOB)) + length(payload)) AS size FROM retained',
  );
  /** Null: to be counted. */
  let retainedBytes: number | null = null;

  const putSubscription = query(
    `INSERT INTO subscriptions (client_id, filter, options) VALUES (?, ?, ?)
     ON CONFLICT DO UPDATE SET options = excluded.options`,
  );
  const deleteSubscription = query('DELETE FROM subscriptions WHERE client_id = ? AND filter = ?');
  const deleteSubscriptions = query('DELETE FROM subscriptions WHERE client_id = ?');
  const ofClient = query<{ options: string }>(
    'SELECT options FROM subscriptions WHERE client_id = ? ORDER BY filter',
  );
  const everySubscription = query<{ client_id: string; options: string }>(
    'SELECT client_id, options FROM subscriptions',
  );
  const subscribersOf = query<{ client_id: string }>(
    'SELECT client_id FROM subscriptions WHERE filter = ? ORDER BY client_id',
  );
  const countSubscribers = query<{ n: number }>(
    'SELECT count(DISTINCT client_id) AS n FROM subscriptions',
  );

  const putIncoming = query(
    'INSERT OR REPLACE INTO incoming (client_id, message_id, fields, payload) VALUES (?, ?, ?, ?)',
  );
  const getIncoming = query<StoredPacket>(
    'SELECT fields, payload FROM incoming WHERE client_id = ? AND message_id = ?',
  );
  const deleteIncoming = query('DELETE FROM incoming WHERE client_id = ? AND message_id = ?');
  const deleteAllIncoming = query('DELETE FROM incoming WHERE client_id = ?');

  const putWill = query(
    'INSERT OR REPLACE INTO wills (client_id, broker_id, fields, payload) VALUES (?, ?, ?, ?)',
  );
  const getWill = query<StoredPacket>('SELECT fields, payload FROM wills WHERE client_id = ?');
  const deleteWill = query('DELETE FROM wills WHERE client_id = ?');
  const listWills = query<StoredPacket>('SELECT fields, payload FROM wills');

  const putSession = query(
    'INSERT OR REPLACE INTO sessions (client_id, disconnected_ms) VALUES (?, NULL)',
  );
  const deleteSession = query('DELETE FROM sessions WHERE client_id = ?');
  const endSession = query('UPDATE sessions SET disconnected_ms = ? WHERE client_id = ?');
  const endSessions = query(
    'UPDATE sessions SET disconnected_ms = ? WHERE disconnected_ms IS NULL',
  );
  const expiredSessions = query<{ client_id: string }>(
    'SELECT client_id FROM sessions WHERE disconnected_ms < ?',
  );
  const isExpired = query<{ n: number }>(
    'SELECT count(*) AS n FROM sessions WHERE client_id = ? AND disconnected_ms < ?',
  );
  const hasSession = query<{ n: number }>('SELECT count(*) AS n FROM sessions WHERE client_id = ?');
  const countSessions = query<{ n: number }>('SELECT count(*) AS n FROM sessions');

  const restored = (row: StoredPacket | null) => (row ? restoredPacket(row) : undefined);
  const subscriptionOf = (row: { options: string }) => JSON.parse(row.options) as Subscription;

  return {
    storeRetained(packet: BrokerPacket): void {
      const topic = packet.topic ?? '';
      const { fields, payload } = storedPacket(packet);
      const bytes = Buffer.byteLength(payload ?? '');
      if (retainedBytes !== null) {
        retainedBytes -= retainedSize.get(topic)?.size ?? 0;
        retainedBytes += bytes === 0 ? 0 : Buffer.byteLength(topic) + bytes;
      }
      write(() =>
        bytes === 0 ? deleteRetained.run(topic) : putRetained.run(topic, fields, payload),
      );
    },
    /** With their topics. */
    retainedBytes(): number {
      retainedBytes ??= retainedTotal.get()?.size ?? 0;
      return retainedBytes;
    },
    retainedSize: (topic: string) => retainedSize.get(topic)?.size ?? 0,
    /** What was written last is undone. */
    countAgain(): void {
      retainedBytes = null;
    },
    retained: (topic: string) => restored(getRetained.get(topic)),
    /** Topics that begin with a text, in order. No character sorts above the last code point. */
    retainedTopics: (prefix: string) =>
      listRetained.all(prefix, `${prefix}\u{10FFFF}`).map((row) => row.topic),

    storeSubscription: (clientId: string, sub: Subscription) =>
      write(() => putSubscription.run(clientId, sub.topic, JSON.stringify(sub))),
    deleteSubscription: (clientId: string, filter: string) =>
      write(() => deleteSubscription.run(clientId, filter)),
    deleteSubscriptions: (clientId: string) => write(() => deleteSubscriptions.run(clientId)),
    subscriptions: (clientId: string) => ofClient.all(clientId).map(subscriptionOf),
    allSubscriptions: () =>
      everySubscription.all().map((row) => ({
        clientId: row.client_id,
        subscription: subscriptionOf(row),
      })),
    subscribersOf: (filter: string) => subscribersOf.all(filter).map((row) => row.client_id),
    countSubscribers: () => countSubscribers.get()?.n ?? 0,

    storeIncoming(clientId: string, packet: BrokerPacket): void {
      const { fields, payload } = storedPacket(packet);
      write(() => putIncoming.run(clientId, packet.messageId ?? 0, fields, payload));
    },
    incoming: (clientId: string, messageId: number | undefined) =>
      restored(getIncoming.get(clientId, messageId ?? -1)),
    deleteIncoming: (clientId: string, messageId: number | undefined) =>
      write(() => deleteIncoming.run(clientId, messageId ?? -1)).changes > 0,
    deleteAllIncoming: (clientId: string) => write(() => deleteAllIncoming.run(clientId)),

    storeWill(clientId: string, packet: BrokerPacket): void {
      const { fields, payload } = storedPacket(packet);
      write(() => putWill.run(clientId, packet.brokerId ?? '', fields, payload));
    },
    will: (clientId: string) => restored(getWill.get(clientId)),
    deleteWill(clientId: string): BrokerPacket | undefined {
      const will = restored(getWill.get(clientId));
      if (will) write(() => deleteWill.run(clientId));
      return will;
    },
    wills: () => listWills.all().map(restoredPacket),

    sessionConnected: (clientId: string, clean: boolean) =>
      write(() => (clean ? deleteSession.run(clientId) : putSession.run(clientId))),
    sessionDisconnected: (clientId: string, nowMs: number) =>
      write(() => endSession.run(nowMs, clientId)),
    adoptSessions: (nowMs: number) => write(() => endSessions.run(nowMs)),
    deleteSession: (clientId: string) => write(() => deleteSession.run(clientId)),
    expiredSessions: (beforeMs: number) =>
      expiredSessions.all(beforeMs).map((row) => row.client_id),
    isExpired: (clientId: string, beforeMs: number) =>
      (isExpired.get(clientId, beforeMs)?.n ?? 0) > 0,
    hasSession: (clientId: string) => (hasSession.get(clientId)?.n ?? 0) > 0,
    countSessions: () => countSessions.get()?.n ?? 0,
  };
}
