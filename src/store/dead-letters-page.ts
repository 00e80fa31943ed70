import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/** A message that could not be stored, with its original bytes. */
export interface DeadLetterRow {
  id: number;
  logTopic: string;
  partition: number;
  offset: number;
  /** The MQTT topic; null when the record had none that could be read. */
  topic: string | null;
  reason: string;
  detail: string;
  payload: Uint8Array;
  arrivalTime: Micros;
  createdAt: Micros;
}

/** Dead letters, the newest first, with an id below `before`. */
export async function deadLettersPage(
  sql: Sql,
  page: { before: number | null; reason: string | null; topic: string | null; limit: number },
): Promise<DeadLetterRow[]> {
  const { before, reason, topic } = page;
  return await sql<DeadLetterRow[]>`
    SELECT id, log_topic AS "logTopic", partition, "offset", topic, reason, detail, payload,
      arrival_time AS "arrivalTime", created_at AS "createdAt"
    FROM dead_letters
    WHERE true
      ${before === null ? sql`` : sql`AND id < ${before}`}
      ${reason === null ? sql`` : sql`AND reason = ${reason}`}
      ${topic === null ? sql`` : sql`AND topic = ${topic}`}
    ORDER BY id DESC LIMIT ${page.limit}::int`;
}
