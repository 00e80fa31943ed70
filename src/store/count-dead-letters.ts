import type { Sql } from './connection.ts';

export interface DeadLetterCount {
  reason: string;
  count: number;
  /** Of them, those that were put back into the log. */
  replayed: number;
}

/** Dead letters by reason, the most frequent first; from an index that leaves the payloads out. */
export async function countDeadLetters(sql: Sql): Promise<DeadLetterCount[]> {
  return await sql<DeadLetterCount[]>`
    SELECT reason, count(*)::int AS count, count(replayed_at)::int AS replayed
    FROM dead_letters GROUP BY reason ORDER BY 2 DESC, 1`;
}
