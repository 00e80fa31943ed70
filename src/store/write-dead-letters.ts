import type { RejectReason } from '../domain/reading.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import type { TransactionSql } from './connection.ts';
import type { LogPartition } from './watermark.ts';

/** A message that could not become a reading, with its original bytes. */
export interface DeadLetter {
  offset: number;
  /** The record's key. */
  key: string | null;
  topic: string | null;
  reason: RejectReason;
  detail: string;
  payload: Uint8Array;
  arrival: Micros;
}

/** Keeps dead letters; one that is there already (a replay of the log) stays as it is. */
export async function writeDeadLetters(
  tx: TransactionSql,
  log: LogPartition,
  letters: readonly DeadLetter[],
): Promise<void> {
  const rows = letters.map((letter) => ({
    log_offset: letter.offset,
    log_key: letter.key === null ? null : storable(letter.key),
    topic: letter.topic === null ? null : storable(letter.topic),
    reason: letter.reason,
    detail: storable(letter.detail),
    payload: Buffer.from(letter.payload).toString('base64'),
    arrival_time: formatMicros(letter.arrival),
  }));
  await tx`
    INSERT INTO dead_letters (log_id, log_topic, partition, "offset", log_key, topic, reason,
      detail, payload, arrival_time)
    SELECT ${log.logId}, ${log.topic}, ${log.partition}, log_offset, log_key, topic, reason, detail,
      decode(payload, 'base64'), arrival_time
    FROM json_to_recordset(${JSON.stringify(rows)}::text::json) AS r(log_offset bigint, log_key text,
      topic text, reason text, detail text, payload text, arrival_time timestamptz)
    ORDER BY log_offset
    ON CONFLICT DO NOTHING`;
}

/** Text that Postgres takes, whatever a device sent. Cut first: a cut may halve a pair. */
function storable(text: string): string {
  return text.slice(0, 1000).toWellFormed().replaceAll('\0', '\u2400');
}
