import type { Sql, TransactionSql } from './connection.ts';
import { literal } from './literal.ts';
import { STATEMENT_TIMEOUT_MS } from './local-timeouts.ts';
import { textArray } from './text-array.ts';

interface VersionRow {
  user_id: string;
  accepted_version: number;
}

/** A change of rules takes milliseconds; whoever holds them longer has left a transaction open. */
export const RULES_LOCK_TIMEOUT_MS = 2_000;

/**
 * The versions in force of these users, locked against change until the transaction ends, in the
 * order of user_id; 55P03 where another holds one of them for over 2 s. It is `RuleSet.version` as
 * `readRuleConfigs` gives it: for a deleted config the version of its deletion, 0 for a user who
 * never had one. All in one message: what is sent behind it may be a COPY, and then the client
 * takes no statement more. The second SELECT has the deletion that the first may have waited for.
 */
export async function lockRuleVersions(
  tx: TransactionSql,
  userIds: Iterable<string>,
): Promise<Map<string, number>> {
  const ids = [...new Set(userIds)];
  const these = `ANY(${literal(textArray(ids))}::text[])`;
  const answers = await tx.unsafe(
    `SET LOCAL lock_timeout = ${RULES_LOCK_TIMEOUT_MS};
     SELECT user_id, accepted_version FROM user_configs
     WHERE user_id = ${these} ORDER BY user_id FOR SHARE;
     SELECT user_id, max(version) AS accepted_version FROM rule_changes c
     WHERE kind = 'DELETED' AND user_id = ${these}
       AND NOT EXISTS (SELECT FROM user_configs u WHERE u.user_id = c.user_id)
     GROUP BY user_id;
     SET LOCAL lock_timeout = ${STATEMENT_TIMEOUT_MS}`,
  );
  const [, inForce, deleted] = answers as unknown as [unknown, VersionRow[], VersionRow[]];
  const versions = new Map(ids.map((id) => [id, 0]));
  for (const row of [...inForce, ...deleted]) versions.set(row.user_id, row.accepted_version);
  return versions;
}

/** The same without the lock: they may change with the next commit of another. */
export async function readRuleVersions(
  tx: TransactionSql,
  userIds: Iterable<string>,
): Promise<Map<string, number>> {
  const ids = [...new Set(userIds)];
  const rows = await tx<VersionRow[]>`
    SELECT user_id, accepted_version FROM user_configs
    WHERE user_id = ANY(${textArray(ids)}::text[])`;
  return await withDeleted(tx, ids, rows);
}

/** Those of these users whose rules another transaction holds at this moment. */
export async function usersWithHeldRules(
  tx: TransactionSql,
  userIds: Iterable<string>,
): Promise<string[]> {
  const ids = textArray([...new Set(userIds)]);
  const rows = await tx<{ user_id: string }[]>`
    WITH free AS MATERIALIZED (
      SELECT user_id FROM user_configs WHERE user_id = ANY(${ids}::text[]) FOR SHARE SKIP LOCKED)
    SELECT user_id FROM user_configs
    WHERE user_id = ANY(${ids}::text[]) AND user_id NOT IN (SELECT user_id FROM free)
    ORDER BY user_id`;
  return rows.map((row) => row.user_id);
}

async function withDeleted(
  tx: TransactionSql,
  ids: readonly string[],
  rows: readonly VersionRow[],
): Promise<Map<string, number>> {
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
