import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/**
 * Deletes the alerts that were resolved before `before`, by event time, and whose transitions are
 * deleted already: whoever reads a transition finds its alert.
 *
 * @returns how many were deleted
 */
export async function pruneAlerts(
  sql: Sql,
  { before, limit = 10_000 }: { before: Micros; limit?: number },
): Promise<number> {
  const result = await sql`
    DELETE FROM alerts WHERE id IN (
      SELECT id FROM alerts old
      WHERE status = 'RESOLVED' AND resolved_at < ${before}::timestamptz
        AND NOT EXISTS (SELECT FROM alert_events e WHERE e.alert_id = old.id)
      ORDER BY resolved_at LIMIT ${limit}::int)`;
  return result.count;
}
