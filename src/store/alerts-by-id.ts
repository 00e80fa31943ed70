import { ALERT_COLUMNS, type AlertRow } from './alert-columns.ts';
import type { Sql } from './connection.ts';
import { literal } from './literal.ts';
import { textArray } from './text-array.ts';

/** Those of the episodes that exist, in any order. In one round trip: each push asks for one. */
export async function alertsById(sql: Sql, ids: readonly string[]): Promise<AlertRow[]> {
  // No id holds a NUL, and a statement can't.
  const these = ids.filter((id) => !id.includes('\0'));
  return await sql.unsafe<AlertRow[]>(
    `SELECT ${ALERT_COLUMNS} FROM alerts WHERE id = ANY (${literal(textArray(these))}::text[])`,
  );
}
