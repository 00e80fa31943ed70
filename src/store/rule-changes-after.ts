import type { Sql } from './connection.ts';

export interface RuleChangeRow {
  /** In commit order; may have holes. */
  seq: number;
  userId: string;
  version: number;
  /** WRITTEN changes nothing yet: the version comes into force, or is refused, when REVIEWED. */
  kind: 'WRITTEN' | 'REVIEWED' | 'DELETED';
}

/** The next `limit` changes of user_configs with a seq above `after`, in order: an index range. */
export async function ruleChangesAfter(
  sql: Sql,
  { after, limit }: { after: number; limit: number },
): Promise<RuleChangeRow[]> {
  return await sql<RuleChangeRow[]>`
    SELECT seq, user_id AS "userId", version, kind FROM rule_changes
    WHERE seq > ${after}::bigint ORDER BY seq LIMIT ${limit}::int`;
}

/** The newest seq; 0 before the first change. */
export async function newestRuleChange(sql: Sql): Promise<number> {
  const [row] = await sql<{ newest: number | null }[]>`
    SELECT max(seq) AS newest FROM rule_changes`;
  return row?.newest ?? 0;
}
