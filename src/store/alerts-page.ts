import type { AlertStatus } from '../domain/alert.ts';
import type { Severity } from '../domain/rule.ts';
import type { Micros } from '../domain/time.ts';
import { type AlertRow, alertColumns } from './alert-columns.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/** Absent or null: not filtered by it. */
export interface AlertFilter {
  deviceId?: string | null;
  ruleId?: string | null;
  statuses?: readonly AlertStatus[] | null;
  severities?: readonly Severity[] | null;
  /** Bounds of startedAt; `to` is exclusive. */
  from?: Micros | null;
  to?: Micros | null;
}

export interface AlertsPage extends AlertFilter {
  after: { startedAt: Micros; id: string } | null;
  /** Of each owner, where there are several. */
  limit: number;
}

/** Episodes of all users, the newest start first, behind `after`. */
export async function alertsPage(sql: Sql, page: AlertsPage): Promise<AlertRow[]> {
  return await sql<AlertRow[]>`
    SELECT ${alertColumns(sql)} FROM alerts
    WHERE true ${chosen(sql, page)}
    ORDER BY started_at DESC, id LIMIT ${page.limit}::int`;
}

/**
 * The same of each of these users, or of each of these devices: a range of an index an owner, one
 * statement for all.
 */
export async function alertsPages(
  sql: Sql,
  owners: readonly { userId: string; deviceId?: string }[],
  page: AlertsPage,
): Promise<AlertRow[]> {
  const devices = owners.map(({ deviceId }) => deviceId).filter((id) => id !== undefined);
  const ofDevice = devices.length > 0 ? sql`AND device_id = wanted.d` : sql``;
  return await sql<AlertRow[]>`
    SELECT page.* FROM unnest(${textArray(owners.map(({ userId }) => userId))}::text[],
      ${textArray(devices)}::text[]) AS wanted (u, d)
    CROSS JOIN LATERAL (
      SELECT ${alertColumns(sql)} FROM alerts
      WHERE user_id = wanted.u ${ofDevice} ${chosen(sql, page)}
      ORDER BY started_at DESC, id LIMIT ${page.limit}::int) AS page
    ORDER BY page."startedAt" DESC, page.id`;
}

function chosen(sql: Sql, page: AlertsPage) {
  const { after, deviceId, ruleId, statuses, severities, from, to } = page;
  // started_at falls and id rises, which a comparison of pairs can't say.
  const behind =
    after === null
      ? sql``
      : sql`AND started_at <= ${after.startedAt}
            AND (started_at < ${after.startedAt} OR id > ${after.id})`;
  return sql`
    ${deviceId == null ? sql`` : sql`AND device_id = ${deviceId}`}
    ${ruleId == null ? sql`` : sql`AND rule_id = ${ruleId}`}
    ${statuses == null ? sql`` : sql`AND status = ANY (${textArray(statuses)}::text[])`}
    ${severities == null ? sql`` : sql`AND severity = ANY (${textArray(severities)}::text[])`}
    ${from == null ? sql`` : sql`AND started_at >= ${from}`}
    ${to == null ? sql`` : sql`AND started_at < ${to}`}
    ${behind}`;
}
