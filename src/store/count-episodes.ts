import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/** How many alerts of a rule began on these devices in a time, by the index on their start. */
export async function countEpisodes(
  sql: Sql,
  asked: {
    userId: string;
    ruleId: string;
    deviceIds: readonly string[];
    from: Micros;
    /** Exclusive. */
    to: Micros;
  },
): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    SELECT count(*) AS n FROM alerts
    WHERE user_id = ${asked.userId} AND rule_id = ${asked.ruleId}
      AND started_at >= ${asked.from} AND started_at < ${asked.to}
      AND device_id = ANY (${textArray(asked.deviceIds)}::text[])`;
  return row?.n ?? 0;
}
