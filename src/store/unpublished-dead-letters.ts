import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/** A dead letter that its topic has not got yet. */
export interface UnpublishedDeadLetter {
  id: number;
  partition: number;
  offset: number;
  key: string | null;
  topic: string | null;
  reason: string;
  detail: string;
  payload: Uint8Array;
  arrivalTime: Micros;
}

/** The first of one log, of one partition or all, in the order of the log. By a partial index. */
export async function unpublishedDeadLetters(
  sql: Sql,
  page: {
    logId: string;
    logTopic: string;
    partition: number | null;
    /** Leaves out what was written later. */
    before: Micros | null;
    limit: number;
  },
): Promise<UnpublishedDeadLetter[]> {
  const { logId, logTopic, partition, before } = page;
  return await sql<UnpublishedDeadLetter[]>`
    SELECT id, partition, "offset", log_key AS key, topic, reason, detail, payload,
      arrival_time AS "arrivalTime"
    FROM dead_letters
    WHERE log_id = ${logId} AND log_topic = ${logTopic} AND published_at IS NULL
      ${partition === null ? sql`` : sql`AND partition = ${partition}::int`}
      ${before === null ? sql`` : sql`AND created_at < ${before}::timestamptz`}
    ORDER BY partition, "offset" LIMIT ${page.limit}::int`;
}

export async function markDeadLettersPublished(sql: Sql, ids: readonly number[]): Promise<void> {
  await sql`
    UPDATE dead_letters SET published_at = now()
    WHERE id = ANY(${`{${ids.join(',')}}`}::bigint[])`;
}
