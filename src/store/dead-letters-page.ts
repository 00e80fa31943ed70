import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/** A message that could not be stored, with its original bytes. */
export interface DeadLetterRow {
  id: number;
  logTopic: string;
  partition: number;
  offset: number;
  /** The record's key in the log. */
  key: string | null;
  /** The MQTT topic; null when the record had none that could be read. */
  topic: string | null;
  reason: string;
  detail: string;
  payload: Uint8Array;
  arrivalTime: Micros;
  createdAt: Micros;
  /** When it was last put back into the log, and by whom; null before. */
  replayedAt: Micros | null;
  replayedBy: string | null;
}

export interface DeadLetterFilter {
  reason: string | null;
  topic: string | null;
  /** Whether it was put back into the log; null takes both. */
  replayed: boolean | null;
}

/** Dead letters, the newest first, with an id below `before`. */
export async function deadLettersPage(
  sql: Sql,
  page: DeadLetterFilter & { before: number | null; limit: number },
): Promise<DeadLetterRow[]> {
  const { before, reason, topic, replayed } = page;
  return await sql<DeadLetterRow[]>`
    SELECT id, log_topic AS "logTopic", partition, "offset", log_key AS key, topic, reason, detail,
      payload, arrival_time AS "arrivalTime", created_at AS "createdAt",
      replayed_at AS "replayedAt", replayed_by AS "replayedBy"
    FROM dead_letters
    WHERE true
      ${before === null ? sql`` : sql`AND id < ${before}`}
      ${reason === null ? sql`` : sql`AND reason = ${reason}`}
      ${topic === null ? sql`` : sql`AND topic = ${topic}`}
      ${replayed === null ? sql`` : sql`AND (replayed_at IS NOT NULL) = ${replayed}`}
    ORDER BY id DESC LIMIT ${page.limit}::int`;
}
