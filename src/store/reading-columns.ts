import type { JsonObject } from '../domain/json.ts';
import type { Column, Columns, ColumnValues, Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import type { Sql, TransactionSql } from './connection.ts';
import { parsePoint } from './point-columns.ts';

/** A row of `readingColumns`: the key, and the declared columns and the rest by their own names. */
export interface ReadingRow {
  time: number;
  user_id: string;
  device_id: string;
  sequence_id: number;
  [column: string]: unknown;
}

/**
 * The SQL of what identifies a reading, whatever its model calls it.
 *
 * @param table what the query calls the model's table
 */
export function keySql(sql: Sql | TransactionSql, model: Model, table = model.table) {
  const { owner, device, sequence } = model;
  const column = (name: string) => sql`${sql(`${table}.${name}`)}`;
  return {
    owner: 'column' in owner ? column(owner.column) : sql`${owner.constant}::text`,
    device: column(device.column),
    sequence: sequence === null ? sql`0::bigint` : column(sequence.column),
  };
}

/** A select list over the model's table: what identifies a reading by its generic names. */
export function readingColumns(sql: Sql, model: Model) {
  const { owner, device, sequence } = keySql(sql, model);
  const names = [...model.columnNames, model.extraColumn];
  return sql`time, ${owner} AS user_id, ${device} AS device_id, ${sequence} AS sequence_id,
    ${sql(names)}`;
}

export function readingOf(row: ReadingRow, model: Model): Reading {
  return {
    time: row.time,
    userId: row.user_id,
    deviceId: row.device_id,
    sequenceId: row.sequence_id,
    columns: Object.fromEntries(
      model.columnNames.map((name) => [name, columnValue(row[name], model.columns[name])]),
    ) as ColumnValues<Columns>,
    extra: row[model.extraColumn] as JsonObject | null,
  };
}

/** A declared column's value as the client has it from the server. */
export function columnValue(stored: unknown, column: Column | undefined): unknown {
  return column?.type === 'point' && stored !== null ? parsePoint(stored as string) : stored;
}
