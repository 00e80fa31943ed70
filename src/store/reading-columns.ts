import type { JsonObject } from '../domain/json.ts';
import type { Columns, ColumnValues, Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import type { Sql } from './connection.ts';

/** A row of `readingColumns`: the key, and the declared columns and the rest by their own names. */
export interface ReadingRow {
  time: number;
  user_id: string;
  device_id: string;
  sequence_id: number;
  [column: string]: unknown;
}

/** Every column of a reading, for a select list over the model's table. */
export function readingColumns(sql: Sql, model: Model) {
  return sql([...model.key, ...model.columnNames, model.extraColumn]);
}

export function readingOf(row: ReadingRow, model: Model): Reading {
  return {
    time: row.time,
    userId: row.user_id,
    deviceId: row.device_id,
    sequenceId: row.sequence_id,
    columns: Object.fromEntries(
      model.columnNames.map((name) => [name, row[name]]),
    ) as ColumnValues<Columns>,
    extra: row[model.extraColumn] as JsonObject | null,
  };
}
