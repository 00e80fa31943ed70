import type { Severity } from '../domain/rule.ts';
import type { Sql } from './connection.ts';

/** Firing alerts by severity, of one user or of all (null), from the index of the firing ones. */
export async function alertCounts(
  sql: Sql,
  userId: string | null,
): Promise<{ severity: Severity; count: number }[]> {
  return await sql<{ severity: Severity; count: number }[]>`
    SELECT severity, count(*)::int AS count FROM alerts
    WHERE status = 'FIRING' ${userId === null ? sql`` : sql`AND user_id = ${userId}`}
    GROUP BY severity`;
}
