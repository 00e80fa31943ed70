import type { Model } from '../domain/model.ts';
import type { Issue } from '../domain/rule.ts';
import { parseConfig } from '../domain/rule-config.ts';
import { contentIssues, mergeConfig, type RuleContent, ruleIds } from '../domain/rule-content.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { failureKind } from './failure.ts';
import { type LockedConfig, lockConfig } from './lock-config.ts';
import { textArray } from './text-array.ts';

export interface Review {
  userId: string;
  version: number;
  /** Empty where the version is in force now. */
  issues: Issue[];
}

export interface ReviewedPage {
  reviews: Review[];
  /** Where to go on, as `after`; null where that was all. */
  next: string | null;
}

/**
 * Looks at the next configs that SQL has written: a valid one comes into force and gets its rules'
 * ids written back, an invalid one keeps the last valid content and gets its faults. One
 * transaction for each user, so that none holds up another; what another transaction holds is
 * passed over. Safe from many replicas at once. Costs one index probe where there is nothing to do.
 *
 * @param options.after the user to go on behind; null from the first
 */
export async function reviewRules(
  sql: Sql,
  { model, after = null, limit = 200 }: { model: Model; after?: string | null; limit?: number },
): Promise<ReviewedPage> {
  const rows = await sql<{ user_id: string }[]>`
    SELECT user_id FROM user_configs
    WHERE version > reviewed_version AND (${after}::text IS NULL OR user_id > ${after}::text)
    ORDER BY user_id LIMIT ${limit}::int`;
  const reviews: Review[] = [];
  for (const { user_id: userId } of rows) {
    const review = await reviewUser(sql, userId, model);
    if (review !== null) reviews.push(review);
  }
  return { reviews, next: rows.length < limit ? null : (rows.at(-1)?.user_id ?? null) };
}

async function reviewUser(sql: Sql, userId: string, model: Model): Promise<Review | null> {
  const inTransaction = (review: typeof reviewConfig) =>
    sql.begin(async (tx) => {
      const row = await lockConfig(tx, { userId, model, skipLocked: true });
      return row === null || row.version === row.reviewedVersion
        ? null
        : await review(tx, row, model);
    });
  try {
    return await inTransaction(reviewConfig);
  } catch (error) {
    if (failureKind(error) === 'outage') throw error;
    // Whatever it was, this user's config alone is refused, and not looked at again and again.
    const message = `could not be taken over: ${error instanceof Error ? error.message : error}`;
    return await inTransaction((tx, row) => refuse(tx, row, [{ path: '', message }]));
  }
}

/** Reviews a config that this transaction has locked. */
export async function reviewConfig(
  tx: TransactionSql,
  row: LockedConfig,
  model: Model,
): Promise<Review> {
  if (row.written.rules === undefined) {
    const message = 'are larger than 1 MB or nested too deep';
    return await refuse(tx, row, [{ path: 'rules', message }]);
  }
  const parsed = parseConfig(row.written, model);
  if (!parsed.ok) return await refuse(tx, row, parsed.issues);
  const content = mergeConfig({ ...row.accepted, shorthands: {} }, parsed.config, model);
  // With the ids that it has only now, it may have become too large.
  const issues = contentIssues(content, model);
  if (issues.length > 0) return await refuse(tx, row, issues);
  const written = row.written.rules as Record<string, unknown>[];
  const rules = written.map((rule, index) => ({ ...rule, id: content.rules[index]?.id }));
  await acceptConfig(tx, { userId: row.userId, before: row.accepted, content, rules, model });
  return { userId: row.userId, version: row.version, issues: [] };
}

/**
 * Brings the newest version of a locked row into force. The snoozes of rules that are deleted go with
 * them: a later rule of that id is not kept quiet by what nobody remembers.
 *
 * @param options.before what was in force
 * @param options.rules what the column `rules` is to hold: as written, with ids
 * @returns the version
 */
export async function acceptConfig(
  tx: TransactionSql,
  {
    userId,
    before,
    content,
    rules,
    model,
  }: {
    userId: string;
    before: RuleContent;
    content: RuleContent;
    rules: readonly object[];
    model: Model;
  },
): Promise<number> {
  const [row] = await tx<{ version: number }[]>`
    UPDATE user_configs
    SET rules = ${tx.json(rules as never)}, accepted = ${tx.json(content as never)},
        accepted_version = version, accepted_at = clock_timestamp(), accepted_by = updated_by,
        reviewed_version = version, issues = '[]'
    WHERE user_id = ${userId} RETURNING version`;
  const old = new Set(ruleIds(before, model));
  const stay = ruleIds(content, model).filter((id) => old.has(id));
  await tx`
    DELETE FROM snoozes
    WHERE user_id = ${userId} AND rule_id <> ALL (${textArray(stay)}::text[])`;
  return (row as { version: number }).version;
}

async function refuse(tx: TransactionSql, row: LockedConfig, issues: Issue[]): Promise<Review> {
  await tx`
    UPDATE user_configs SET reviewed_version = version, issues = ${tx.json(issues as never)}
    WHERE user_id = ${row.userId}`;
  return { userId: row.userId, version: row.version, issues };
}
