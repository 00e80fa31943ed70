import type { Micros } from '../domain/time.ts';
import { PRUNED_STREAM } from './alert-event-range.ts';
import type { Sql } from './connection.ts';

/**
 * Deletes the published transitions older than `before`, always a prefix of seq, and records in the
 * same statement how far it went, so that a subscriber who asks for what is gone is told so.
 *
 * @returns how many were deleted
 */
export async function pruneAlertEvents(
  sql: Sql,
  { before, limit = 10_000 }: { before: Micros; limit?: number },
): Promise<number> {
  const [row] = await sql<{ deleted: number }[]>`
    WITH oldest AS (
      SELECT seq, bool_and(created_at < ${before}::timestamptz AND published_at IS NOT NULL)
               OVER (ORDER BY seq) AS goes
      FROM (SELECT seq, created_at, published_at FROM alert_events ORDER BY seq
            LIMIT ${limit}::int) AS page
    ), gone AS (
      DELETE FROM alert_events WHERE seq IN (SELECT seq FROM oldest WHERE goes) RETURNING seq
    ), recorded AS (
      INSERT INTO publisher_positions (stream, seq)
      SELECT ${PRUNED_STREAM}, max(seq) FROM gone HAVING count(*) > 0
      ON CONFLICT (stream) DO UPDATE
        SET seq = greatest(publisher_positions.seq, EXCLUDED.seq), updated_at = now()
    )
    SELECT count(*)::int AS deleted FROM gone`;
  return row?.deleted ?? 0;
}
