import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/**
 * Deletes the broadcast changes of rules older than `before`, but never a user's newest one, which
 * alone knows the version of a config that was deleted.
 *
 * @returns how many were deleted
 */
export async function pruneRuleChanges(
  sql: Sql,
  { before, limit = 10_000 }: { before: Micros; limit?: number },
): Promise<number> {
  const result = await sql`
    DELETE FROM rule_changes WHERE id IN (
      SELECT id FROM rule_changes old
      WHERE changed_at < ${before}::timestamptz
        AND seq <= (SELECT seq FROM publisher_positions WHERE stream = 'configs')
        AND EXISTS (SELECT FROM rule_changes newer
                    WHERE newer.user_id = old.user_id AND newer.seq > old.seq)
      ORDER BY seq LIMIT ${limit}::int)`;
  return result.count;
}
