import type { Database } from 'bun:sqlite';
import { asPayload, type BrokerPacket, type Payload } from './stored-packet.ts';
import type { WriteGroup } from './write-group.ts';

export interface OutgoingLimits {
  /** A session's queue drops its oldest message above either. */
  maxQueuedMessages: number;
  maxQueuedBytes: number;
}

/** The queues of QoS 1 and 2 messages on their way to sessions, connected or not. */
export interface OutgoingQueues {
  /** Skips a message that the session has already. */
  enqueue(clientId: string, packet: BrokerPacket): void;
  /** Notes the id a message went out with, or that it has become a pubrel. False: no such one. */
  update(clientId: string, packet: BrokerPacket): boolean;
  /** Takes out the oldest message that went out with this id. */
  clear(clientId: string, messageId: number): BrokerPacket | undefined;
  /** The next messages behind `afterSeq`, oldest first. */
  page(clientId: string, afterSeq: number, limit: number): { seq: number; packet: BrokerPacket }[];
  /** Deletes up to `limit` messages of a session; true while there are more. */
  drop(clientId: string, limit: number): boolean;
  /** Reads the lengths of the queues from the file again. */
  reload(): void;
  readonly messages: number;
}

interface Row {
  seq: number;
  broker_id: string;
  broker_counter: number;
  message_id: number | null;
  cmd: string;
  topic: string;
  payload: Payload | null;
  qos: number;
  retain: number;
  dup: number;
  size: number;
}

/** Roughly what a row takes beside its payload, so that empty messages count too. */
const ROW_BYTES = 100;

export function createOutgoingQueues(
  db: Database,
  group: WriteGroup,
  limits: OutgoingLimits,
  onDropped: (clientId: string) => void,
): OutgoingQueues {
  const queues = new Map<string, { messages: number; bytes: number }>();
  let messages = 0;
  let nextSeq = 1;
  const sql = statements(db);

  function reload(): void {
    queues.clear();
    messages = 0;
    for (const row of sql.lengths.all()) {
      queues.set(row.client_id, { messages: row.messages, bytes: row.bytes });
      messages += row.messages;
    }
    // Never a number twice while the process lives: a reader may be standing behind it.
    nextSeq = Math.max(nextSeq, (sql.lastSeq.get()?.seq ?? 0) + 1);
  }

  function forget(clientId: string, size: number): void {
    const queue = queues.get(clientId);
    if (!queue) return;
    messages--;
    queue.messages--;
    queue.bytes -= size;
    if (queue.messages === 0) queues.delete(clientId);
  }

  function enqueue(clientId: string, packet: BrokerPacket): void {
    const payload = packet.payload ?? Buffer.alloc(0);
    const size = ROW_BYTES + Buffer.byteLength(payload);
    group.write(() => {
      const added = sql.insert.run(
        nextSeq,
        clientId,
        packet.brokerId ?? '',
        packet.brokerCounter ?? 0,
        packet.cmd ?? 'publish',
        packet.topic ?? '',
        payload,
        packet.qos ?? 0,
        packet.retain ? 1 : 0,
        packet.dup ? 1 : 0,
        size,
      );
      if (added.changes === 0) return;
      nextSeq++;
      messages++;
      const queue = queues.get(clientId) ?? { messages: 0, bytes: 0 };
      queues.set(clientId, queue);
      queue.messages++;
      queue.bytes += size;
      while (
        queue.messages > 1 &&
        (queue.messages > limits.maxQueuedMessages || queue.bytes > limits.maxQueuedBytes)
      ) {
        const oldest = sql.deleteOldest.get(clientId);
        if (!oldest) break;
        forget(clientId, oldest.size);
        onDropped(clientId);
      }
    });
  }

  function update(clientId: string, packet: BrokerPacket): boolean {
    const messageId = packet.messageId ?? null;
    return group.write(() => {
      const { brokerId, brokerCounter } = packet;
      if (brokerId !== undefined && brokerCounter !== undefined) {
        const sent = sql.setMessageId.run(messageId, clientId, brokerCounter, brokerId);
        if (sent.changes > 0) return true;
      }
      if (messageId === null) return false;
      const cmd = packet.cmd ?? 'publish';
      return sql.setCommand.run(cmd, clientId, messageId).changes > 0;
    });
  }

  function clear(clientId: string, messageId: number): BrokerPacket | undefined {
    return group.write(() => {
      const row = sql.deleteInFlight.get(clientId, messageId);
      if (!row) return undefined;
      forget(clientId, row.size);
      return packetOf(row);
    });
  }

  function drop(clientId: string, limit: number): boolean {
    return group.write(() => {
      const dropped = sql.deleteMany.all(clientId, limit);
      for (const { size } of dropped) forget(clientId, size);
      return dropped.length === limit;
    });
  }

  reload();
  return {
    enqueue,
    update,
    clear,
    page: (clientId, afterSeq, limit) =>
      sql.page.all(clientId, afterSeq, limit).map((row) => ({
        seq: row.seq,
        packet: packetOf(row),
      })),
    drop,
    reload,
    get messages() {
      return messages;
    },
  };
}

function packetOf(row: Row): BrokerPacket {
  if (row.cmd === 'pubrel') return { cmd: row.cmd, messageId: row.message_id ?? 0 };
  return {
    cmd: row.cmd,
    brokerId: row.broker_id,
    brokerCounter: row.broker_counter,
    topic: row.topic,
    payload: asPayload(row.payload ?? Buffer.alloc(0)),
    qos: row.qos,
    retain: row.retain === 1,
    dup: row.dup === 1,
    messageId: row.message_id ?? undefined,
  };
}

/** Each works on one session by an index, so that its cost doesn't grow with the queues. */
function statements(db: Database) {
  type Id = [clientId: string];
  type InFlight = [clientId: string, messageId: number];
  type Insert = [
    ...[seq: number, clientId: string, brokerId: string, brokerCounter: number, cmd: string],
    ...[topic: string, payload: Payload, qos: number, retain: number, dup: number, size: number],
  ];
  return {
    lengths: db.query<{ client_id: string; messages: number; bytes: number }, []>(
      'SELECT client_id, count(*) AS messages, sum(size) AS bytes FROM outgoing GROUP BY client_id',
    ),
    lastSeq: db.query<{ seq: number | null }, []>('SELECT max(seq) AS seq FROM outgoing'),
    insert: db.query<never, Insert>(
      `INSERT INTO outgoing (seq, client_id, broker_id, broker_counter, cmd, topic, payload, qos,
         retain, dup, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    ),
    deleteOldest: db.query<{ size: number }, Id>(
      `DELETE FROM outgoing WHERE seq = (SELECT min(seq) FROM outgoing WHERE client_id = ?)
       RETURNING size`,
    ),
    setMessageId: db.query<never, [number | null, string, number, string]>(
      `UPDATE outgoing SET message_id = ?
       WHERE client_id = ? AND broker_counter = ? AND broker_id = ?`,
    ),
    setCommand: db.query<never, [string, string, number]>(
      `UPDATE outgoing SET cmd = ? WHERE seq =
         (SELECT min(seq) FROM outgoing WHERE client_id = ? AND message_id = ?)`,
    ),
    deleteInFlight: db.query<Row, InFlight>(
      `DELETE FROM outgoing WHERE seq =
         (SELECT min(seq) FROM outgoing WHERE client_id = ? AND message_id = ?) RETURNING *`,
    ),
    page: db.query<Row, [string, number, number]>(
      'SELECT * FROM outgoing WHERE client_id = ? AND seq > ? ORDER BY seq LIMIT ?',
    ),
    deleteMany: db.query<{ size: number }, [string, number]>(
      `DELETE FROM outgoing WHERE seq IN
         (SELECT seq FROM outgoing WHERE client_id = ? ORDER BY seq LIMIT ?) RETURNING size`,
    ),
  };
}
