import type { Model } from '../domain/model.ts';
import type { Issue, RuleSet } from '../domain/rule.ts';
import { NO_CONTENT, type RuleContent, toRuleSet } from '../domain/rule-content.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/** A user's rules in force, and what became of the newest ones written. */
export interface RuleConfig {
  ruleSet: RuleSet;
  /** False where the user has no config, or no longer. */
  exists: boolean;
  /** When and by whom the rules in force were accepted; null where there never were any. */
  updatedAt: Micros | null;
  updatedBy: string | null;
  /** Faults of the newest version, where it was refused; its number is `reviewedVersion`. */
  issues: Issue[];
  reviewedVersion: number;
}

interface Row {
  user_id: string;
  accepted: RuleContent | null;
  accepted_version: number | null;
  accepted_at: Micros | null;
  accepted_by: string | null;
  reviewed_version: number | null;
  issues: Issue[] | null;
  deleted_version: number | null;
  deleted_at: Micros | null;
  deleted_by: string | null;
}

/** Reads the rules of these users in one query, each of one moment. Every user gets an entry. */
export async function readRuleConfigs(
  sql: Sql,
  { userIds, model }: { userIds: Iterable<string>; model: Model },
): Promise<Map<string, RuleConfig>> {
  const ids = [...new Set(userIds)];
  const rows = await sql<Row[]>`
    SELECT asked.user_id, c.accepted, c.accepted_version, c.accepted_at, c.accepted_by,
           c.reviewed_version, c.issues,
           d.version AS deleted_version, d.changed_at AS deleted_at, d.actor AS deleted_by
    FROM unnest(${textArray(ids)}::text[]) AS asked (user_id)
    LEFT JOIN user_configs c ON c.user_id = asked.user_id
    LEFT JOIN LATERAL (
      SELECT version, changed_at, actor FROM rule_changes
      WHERE c.user_id IS NULL AND user_id = asked.user_id AND kind = 'DELETED'
      ORDER BY version DESC LIMIT 1
    ) d ON true`;
  return new Map(rows.map((row) => [row.user_id, configOf(row, model)]));
}

function configOf(row: Row, model: Model): RuleConfig {
  return {
    ruleSet: toRuleSet({
      userId: row.user_id,
      version: row.accepted_version ?? row.deleted_version ?? 0,
      content: row.accepted ?? NO_CONTENT,
      model,
    }),
    exists: row.accepted !== null,
    updatedAt: row.accepted_version === 0 ? null : (row.accepted_at ?? row.deleted_at),
    updatedBy: row.accepted_version === 0 ? null : (row.accepted_by ?? row.deleted_by),
    issues: row.issues ?? [],
    reviewedVersion: row.reviewed_version ?? 0,
  };
}
