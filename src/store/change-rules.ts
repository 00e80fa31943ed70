import type { Model } from '../domain/model.ts';
import type { Issue, RuleSet } from '../domain/rule.ts';
import {
  contentIssues,
  NO_CONTENT,
  type RuleContent,
  sameContent,
  toRuleSet,
} from '../domain/rule-content.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { type LockedConfig, lockConfig } from './lock-config.ts';
import { deletedVersions } from './lock-rule-versions.ts';
import { acceptConfig, reviewConfig } from './review-rules.ts';

export type RuleChangeResult =
  | { kind: 'ok'; ruleSet: RuleSet; changed: boolean }
  /** `version` is the one in force. */
  | { kind: 'conflict'; version: number }
  | { kind: 'invalid'; issues: Issue[] };

export interface RuleChange {
  userId: string;
  /** Pure: from the content in force to the new one, whose rules have ids, or why not. */
  change: (current: RuleContent) => RuleContent | { issues: Issue[] };
  /** Changes nothing where another version is in force; 0 where the user has no config. */
  expectedVersion?: number | null;
  /** Who did it: `updated_by`. */
  actor: string;
  model: Model;
}

/**
 * Changes a user's rules in one transaction, by whatever way but SQL. What SQL has written and
 * nobody looked at yet is reviewed first, so that it is not lost. Equal content makes no version,
 * unless it takes the place of a refused one.
 *
 * @throws on a database outage, and where the row stays locked for 5 s
 */
export async function changeRules(sql: Sql, change: RuleChange): Promise<RuleChangeResult> {
  return await sql.begin(async (tx) => {
    await tx`SELECT set_config('pulsegraph.actor', ${change.actor}, true),
                    set_config('lock_timeout', '5s', true),
                    set_config('statement_timeout', '10s', true)`;
    for (;;) {
      const row = await lockReviewed(tx, change);
      const result = await apply(tx, row, change);
      if (result !== 'inserted elsewhere') return result;
    }
  });
}

async function lockReviewed(
  tx: TransactionSql,
  { userId, model }: RuleChange,
): Promise<LockedConfig | null> {
  const row = await lockConfig(tx, { userId, model });
  if (row === null || row.version === row.reviewedVersion) return row;
  await reviewConfig(tx, row, model);
  return await lockConfig(tx, { userId, model });
}

async function apply(
  tx: TransactionSql,
  row: LockedConfig | null,
  { userId, change, expectedVersion, model }: RuleChange,
): Promise<RuleChangeResult | 'inserted elsewhere'> {
  const current = row?.accepted ?? NO_CONTENT;
  const version = row?.acceptedVersion ?? (await deletedVersions(tx, [userId])).get(userId) ?? 0;
  if (expectedVersion != null && expectedVersion !== version) return { kind: 'conflict', version };
  const next = change(current);
  if ('issues' in next) return { kind: 'invalid', issues: next.issues };
  const issues = contentIssues(next, model);
  if (issues.length > 0) return { kind: 'invalid', issues };
  if (sameContent(current, next) && (row === null || row.issues.length === 0)) {
    return {
      kind: 'ok',
      ruleSet: toRuleSet({ userId, version, content: current, model }),
      changed: false,
    };
  }

  const columns: Record<string, unknown> = {
    rules: tx.json(next.rules as never),
    disabled: tx.json((next.disabled ?? {}) as never),
  };
  for (const name of Object.keys(model.shorthands)) columns[name] = next.shorthands[name] ?? null;
  if (row === null) {
    const inserted = await tx`
      INSERT INTO user_configs ${tx({ user_id: userId, ...columns } as never)}
      ON CONFLICT (user_id) DO NOTHING RETURNING user_id`;
    if (inserted.length === 0) return 'inserted elsewhere';
  } else {
    await tx`UPDATE user_configs SET ${tx(columns as never)} WHERE user_id = ${userId}`;
  }
  const accepted = { userId, before: current, content: next, rules: next.rules, model };
  const newVersion = await acceptConfig(tx, accepted);
  const ruleSet = toRuleSet({ userId, version: newVersion, content: next, model });
  return { kind: 'ok', ruleSet, changed: true };
}
