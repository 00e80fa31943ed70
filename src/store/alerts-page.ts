import type { AlertStatus } from '../domain/alert.ts';
import type { Severity } from '../domain/rule.ts';
import type { Micros } from '../domain/time.ts';
import { type AlertRow, alertColumns } from './alert-columns.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/** Absent or null: not filtered by it. */
export interface AlertFilter {
  userId?: string | null;
  deviceId?: string | null;
  ruleId?: string | null;
  statuses?: readonly AlertStatus[] | null;
  severities?: readonly Severity[] | null;
  /** Bounds of startedAt; `to` is exclusive. */
  from?: Micros | null;
  to?: Micros | null;
}

export interface AlertPosition {
  startedAt: Micros;
  id: string;
}

/** Episodes, the newest start first, behind `after`. */
export async function alertsPage(
  sql: Sql,
  filter: AlertFilter,
  { after, limit }: { after: AlertPosition | null; limit: number },
): Promise<AlertRow[]> {
  const { userId, deviceId, ruleId, statuses, severities, from, to } = filter;
  // started_at falls and id rises, which a comparison of pairs can't say.
  const behind =
    after === null
      ? sql``
      : sql`AND started_at <= ${after.startedAt}
            AND (started_at < ${after.startedAt} OR id > ${after.id})`;
  return await sql<AlertRow[]>`
    SELECT ${alertColumns(sql)} FROM alerts
    WHERE true
      ${userId == null ? sql`` : sql`AND user_id = ${userId}`}
      ${deviceId == null ? sql`` : sql`AND device_id = ${deviceId}`}
      ${ruleId == null ? sql`` : sql`AND rule_id = ${ruleId}`}
      ${statuses == null ? sql`` : sql`AND status = ANY (${textArray(statuses)}::text[])`}
      ${severities == null ? sql`` : sql`AND severity = ANY (${textArray(severities)}::text[])`}
      ${from == null ? sql`` : sql`AND started_at >= ${from}`}
      ${to == null ? sql`` : sql`AND started_at < ${to}`}
      ${behind}
    ORDER BY started_at DESC, id LIMIT ${limit}::int`;
}
