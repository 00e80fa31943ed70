import { type AlertRow, alertColumns } from './alert-columns.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

/** Those of the episodes that exist, in any order. */
export async function alertsById(sql: Sql, ids: readonly string[]): Promise<AlertRow[]> {
  return await sql<AlertRow[]>`
    SELECT ${alertColumns(sql)} FROM alerts WHERE id = ANY (${textArray(ids)}::text[])`;
}
