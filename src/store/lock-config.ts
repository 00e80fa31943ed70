import { parseJson } from '../domain/json.ts';
import type { Model } from '../domain/model.ts';
import type { Issue } from '../domain/rule.ts';
import type { RuleContent } from '../domain/rule-content.ts';
import type { TransactionSql } from './connection.ts';

/** A row of user_configs, locked by the transaction that holds this. */
export interface LockedConfig {
  userId: string;
  /** The raw columns as `parseConfig` takes them; undefined where they are too large to read. */
  written: { rules: unknown } & Record<string, unknown>;
  version: number;
  reviewedVersion: number;
  accepted: RuleContent;
  acceptedVersion: number;
  issues: Issue[];
}

/** A config of 200 rules with the longest messages fits in. */
const MAX_RULES_BYTES = 1_000_000;

interface Row extends Record<string, unknown> {
  user_id: string;
  rules_text: string | null;
  version: number;
  reviewed_version: number;
  accepted: RuleContent;
  accepted_version: number;
  issues: Issue[];
}

/**
 * Locks a user's config and reads it; null where there is none.
 *
 * @param options.skipLocked null also where another transaction holds it
 */
export async function lockConfig(
  tx: TransactionSql,
  { userId, model, skipLocked = false }: { userId: string; model: Model; skipLocked?: boolean },
): Promise<LockedConfig | null> {
  const shorthands = Object.keys(model.shorthands);
  const [row] = await tx<Row[]>`
    SELECT ${tx(['user_id', 'disabled', ...shorthands])}, version, reviewed_version, accepted,
           accepted_version, issues,
           CASE WHEN octet_length(rules::text) <= ${MAX_RULES_BYTES}::int
                THEN rules::text END AS rules_text
    FROM user_configs WHERE user_id = ${userId}
    FOR UPDATE ${skipLocked ? tx`SKIP LOCKED` : tx``}`;
  if (row === undefined) return null;
  return {
    userId: row.user_id,
    written: {
      ...Object.fromEntries(shorthands.map((name) => [name, row[name]])),
      rules: readable(row.rules_text),
      disabled: row.disabled,
    },
    version: row.version,
    reviewedVersion: row.reviewed_version,
    accepted: row.accepted,
    acceptedVersion: row.accepted_version,
    issues: row.issues,
  };
}

/** Parsed here and not by the connection, where JSON nested too deep would harm other queries. */
function readable(text: string | null): unknown {
  try {
    return text === null ? undefined : parseJson(text);
  } catch {
    return undefined;
  }
}
