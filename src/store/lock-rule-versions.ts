import type { Sql, TransactionSql } from './connection.ts';
import { literal } from './literal.ts';
import { textArray } from './text-array.ts';

/**
 * The versions in force of these users, locked against change until the transaction ends, in the
 * order of user_id. It is `RuleSet.version` as `readRuleConfigs` gives it: for a deleted config the
 * version of its deletion, 0 for a user who never had one.
 */
export async function lockRuleVersions(
  tx: TransactionSql,
  userIds: Iterable<string>,
): Promise<Map<string, number>> {
  const ids = [...new Set(userIds)];
  const rows = await tx.unsafe<{ user_id: string; accepted_version: number }[]>(
    `SELECT user_id, accepted_version FROM user_configs
     WHERE user_id = ANY(${literal(textArray(ids))}::text[])
     ORDER BY user_id FOR SHARE`,
  );
  const versions = new Map(rows.map((row) => [row.user_id, row.accepted_version]));
  const missing = ids.filter((id) => !versions.has(id));
  if (missing.length === 0) return versions;
  // A second statement, whose snapshot has the deletion that the first may have waited for.
  const deleted = await deletedVersions(tx, missing);
  for (const id of missing) versions.set(id, deleted.get(id) ?? 0);
  return versions;
}

/** The version at which each of these users' configs was last deleted, where it ever was. */
export async function deletedVersions(
  sql: Sql | TransactionSql,
  userIds: readonly string[],
): Promise<Map<string, number>> {
  const rows = await sql<{ user_id: string; version: number }[]>`
    SELECT user_id, max(version) AS version FROM rule_changes
    WHERE kind = 'DELETED'
      AND user_id = ANY(${textArray(userIds)}::text[])
    GROUP BY user_id`;
  return new Map(rows.map((row) => [row.user_id, row.version]));
}
