import { type JsonObject, nestsDeeper, parseJson } from '../domain/json.ts';
import type { Issue } from '../domain/rule.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/** One version of a user's rules, and what became of it. */
export interface RuleChange {
  userId: string;
  version: number;
  actor: string;
  /** When it was written. */
  changedAt: Micros;
  isDeletion: boolean;
  /** Faults for which it was refused, none where it came into force; null where nobody looked. */
  issues: Issue[] | null;
  /** The columns of user_configs; null for a deletion, and for what is too large to be told. */
  content: JsonObject | null;
}

interface Row extends Omit<RuleChange, 'content'> {
  content: string | null;
}

/** What SQL has written may be of any size; what is accepted is 64 KiB at the most. */
const MAX_CONTENT_BYTES = 200_000;
const MAX_LEVELS = 100;

export interface RuleChangesPage {
  before: number | null;
  /** Of each user. */
  limit: number;
}

/**
 * The versions of each of these users' rules below `before`, the newest first. A version has a row
 * of when it was written and one of when it was looked at, with the ids that its rules got: one
 * entry here.
 */
export async function ruleChangesPages(
  sql: Sql,
  userIds: readonly string[],
  { before, limit }: RuleChangesPage,
): Promise<RuleChange[]> {
  const rows = await sql<Row[]>`
    SELECT wanted.u AS "userId", page.* FROM unnest(${textArray(userIds)}::text[]) AS wanted (u)
    CROSS JOIN LATERAL (
    SELECT version, min(actor) AS actor, min(changed_at) AS "changedAt",
      bool_or(kind = 'DELETED') AS "isDeletion",
      CASE WHEN bool_or(kind = 'REVIEWED')
        THEN coalesce((array_agg(issues) FILTER (WHERE kind = 'REVIEWED'))[1], '[]') END AS issues,
      (array_agg(CASE WHEN octet_length(content::text) <= ${MAX_CONTENT_BYTES}::int
                      THEN content::text END ORDER BY id DESC))[1] AS content
    FROM rule_changes
    WHERE user_id = wanted.u AND version < ${before ?? 2 ** 31 - 1}::int
    GROUP BY version ORDER BY version DESC LIMIT ${limit}::int) AS page
    ORDER BY page.version DESC`;
  return rows.map((row) => ({ ...row, content: contentOf(row.content) }));
}

/** Parsed here, where JSON that is nested too deep harms nothing else. */
function contentOf(text: string | null): JsonObject | null {
  if (text === null || nestsDeeper(text, MAX_LEVELS)) return null;
  return parseJson(text) as JsonObject;
}
