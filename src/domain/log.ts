/** The durable log as the engine and the bridge see it. Adapters: src/engine/sources. */

/** One record of a partition. `offset` grows by at least one from record to record. */
export interface LogRecord {
  offset: number;
  /** Milliseconds since the epoch, set by the log when the record was appended. */
  arrivalMs: number;
  key: string | null;
  /** The MQTT topic, from the record's `topic` header; null when the value is an envelope. */
  topic: string | null;
  value: Uint8Array;
  /** Of a message that is followed: W3C trace context, from the record's `traceparent` header. */
  traceparent?: string | null;
}

/**
 * The topic of records that are no messages: the bridge writes one to every partition every few
 * seconds, so that time passes there while devices are silent. Nothing of them is stored. No device
 * can publish it, as it has no device in it.
 */
export const HEARTBEAT_TOPIC = '$pulsegraph/heartbeat';

/**
 * The topic of records that stand for messages which the log itself doesn't take: too large. Each
 * becomes a dead letter of the message's own topic. No device can publish it: it begins with `$`.
 */
export const REFUSED_TOPIC = '$pulsegraph/refused';

/** The `code` of an append's error when the log will never take the message, however often tried. */
export const MESSAGE_TOO_LARGE = 'MESSAGE_TOO_LARGE';

/** A message on its way into the log. */
export interface LogMessage {
  /** Of MQTT; empty where the value is an envelope that names it. */
  topic: string;
  /**
   * Decides the partition: `user_id/device_id`, or null for a message without an owner, which may
   * go to any partition.
   */
  key: string | null;
  /** Not to be changed before the append has settled. */
  value: Uint8Array;
  /** Goes to this partition, whatever the key. */
  partition?: number;
  /** Follows the message through the log: W3C trace context. */
  traceparent?: string;
}

/** Where the bridge puts messages. */
export interface LogAppender {
  /**
   * Resolves once the message is durable; messages of one caller keep their order per key.
   * Waits while the log is full; rejects when the log is closed or its disk fails, and with the
   * code MESSAGE_TOO_LARGE when trying again is of no use. A rejected message may be in the log
   * none the less. Callers bound how many they have on their way.
   */
  append(message: LogMessage): Promise<void>;
}

/**
 * The log moved under the reader (another assignment, expired records, a topic made anew): what
 * was read of it no longer says where to read on. Mended by opening the partition again.
 */
export class PositionLost extends Error {
  override readonly name = 'PositionLost';
}

/** The log can't be asked at the moment: wait, and ask again. */
export class LogUnavailable extends Error {
  override readonly name = 'LogUnavailable';
}

/** One assigned partition, read by one lane. */
export interface PartitionReader {
  readonly partition: number;
  /** Aborted when the partition is taken away or the source closes. */
  readonly signal: AbortSignal;
  /**
   * The group's committed position: the next offset to read; null when there is none.
   *
   * @throws LogUnavailable
   */
  committed(): Promise<number | null>;
  /**
   * `earliest`: first offset still in the log; `end`: the offset that the next record will get.
   *
   * @throws LogUnavailable
   */
  range(): Promise<{ earliest: number; end: number }>;
  /** The newest known `end`, without I/O. Never behind a record already read. */
  end(): number;
  /** Moves the read position, which is at first the committed one, else the earliest. */
  seek(offset: number): void;
  /** Every record below it was read, or there is none: where reading goes on. */
  position(): number;
  /**
   * The next records in order, at least one, at most `maxRecords`; waits for one up to `waitMs`
   * and returns [] when none came or the signal aborted. A position that retention has passed
   * reads on from the earliest record, or throws PositionLost. One read at a time.
   */
  read(maxRecords: number, waitMs: number): Promise<LogRecord[]>;
  /**
   * Commits the group's position: `next` is the next offset to read. Never moves backwards. May be
   * written later, at the latest on close: a lost commit makes records be read again, no more.
   * Rejects once the source is closed or the partition is another's; reading again is harmless.
   */
  commit(next: number): Promise<void>;
}

export type LogHealth = { ok: true } | { ok: false; reason: string };

/** A log as a source of lanes. */
export interface Source {
  /** Kafka's cluster id, or the embedded log's UUID. */
  readonly logId: string;
  readonly topic: string;
  /**
   * How many partitions the topic has.
   *
   * @throws LogUnavailable
   */
  partitions(): Promise<number>;
  /**
   * Calls `onAssigned` for every partition that this process is to read, now and later. Resolves
   * when the first are known, or after some seconds: they come when the log is back.
   *
   * @throws StartError where it never will
   */
  start(onAssigned: (reader: PartitionReader) => void): Promise<void>;
  /**
   * The offset that the next record of each partition will get, also of those that others read.
   *
   * @throws LogUnavailable
   */
  ends?(): Promise<ReadonlyMap<number, number>>;
  /** Stops reading: aborts every reader's signal. Commits still work until `close`. */
  pause(): Promise<void>;
  close(): Promise<void>;
  /** Whether partitions are assigned to this process at all, where that may fail. */
  health?(): LogHealth;
}
