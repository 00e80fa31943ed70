import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/**
 * Deletes the dead letters stored before `before`. Ids grow nearly in that order, so this looks at
 * the oldest ids alone.
 *
 * @returns how many were deleted
 */
export async function pruneDeadLetters(
  sql: Sql,
  { before, limit = 1_000 }: { before: Micros; limit?: number },
): Promise<number> {
  const result = await sql`
    DELETE FROM dead_letters WHERE created_at < ${before}::timestamptz
      AND id IN (SELECT id FROM dead_letters ORDER BY id LIMIT ${limit}::int)`;
  return result.count;
}
