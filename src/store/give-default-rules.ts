import type { Model } from '../domain/model.ts';
import { mergeConfig, NO_CONTENT } from '../domain/rule-content.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/** Who it was, in the history. */
const ACTOR = 'model';

/**
 * Gives the model's rules to those of the users who never had any, in force at once: also not again
 * to one who has deleted them. Two statements for all of them.
 *
 * @returns who got them
 */
export async function giveDefaultRules(
  sql: Sql,
  { userIds, model }: { userIds: Iterable<string>; model: Model },
): Promise<string[]> {
  const ids = [...userIds];
  if (model.defaults.rules === undefined || ids.length === 0) return [];
  const content = mergeConfig(NO_CONTENT, model.defaults, model);
  return await sql.begin(async (tx) => {
    await tx`SELECT set_config('pulsegraph.actor', ${ACTOR}, true),
                    set_config('lock_timeout', '5s', true),
                    set_config('statement_timeout', '10s', true)`;
    const rows = await tx<{ user_id: string }[]>`
      INSERT INTO user_configs (user_id, rules)
      SELECT user_id, ${tx.json(content.rules as never)} FROM (
        SELECT DISTINCT unnest(${textArray(ids)}::text[]) AS user_id ORDER BY 1) AS asked
      WHERE NOT EXISTS (SELECT FROM rule_changes r WHERE r.user_id = asked.user_id)
      ON CONFLICT (user_id) DO NOTHING RETURNING user_id`;
    const given = rows.map((row) => row.user_id);
    if (given.length === 0) return given;
    await tx`
      UPDATE user_configs
      SET accepted = ${tx.json(content as never)}, accepted_version = version,
          accepted_at = clock_timestamp(), accepted_by = updated_by, reviewed_version = version
      WHERE user_id = ANY (${textArray(given)}::text[])`;
    return given;
  });
}
