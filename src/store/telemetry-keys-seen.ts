import type { Model } from '../domain/model.ts';
import type { Sql } from './connection.ts';
import { keySql } from './reading-columns.ts';
import { extraValue } from './telemetry-value.ts';
import { textArray } from './text-array.ts';

/** How far back a key is looked for. A device that dropped it longer ago no longer knows it. */
const NEWEST = 10_000;

/** Which of the devices have an undeclared key in one of their newest readings. */
export async function devicesWithKey(
  sql: Sql,
  model: Model,
  { userId, deviceIds, key }: { userId: string; deviceIds: readonly string[]; key: string },
): Promise<Set<string>> {
  const { owner, device } = keySql(sql, model);
  const rows = await sql<{ d: string }[]>`
    SELECT d FROM unnest(${textArray(deviceIds)}::text[]) AS wanted (d)
    WHERE EXISTS (
      SELECT FROM (
        SELECT ${sql(model.extraColumn)} FROM ${sql(model.table)}
        WHERE ${owner} = ${userId} AND ${device} = wanted.d
        ORDER BY time DESC LIMIT ${NEWEST}::int) AS newest
      WHERE ${extraValue(sql, model, key)} IS NOT NULL)`;
  return new Set(rows.map((row) => row.d));
}
