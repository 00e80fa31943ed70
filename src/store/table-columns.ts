import type { TransactionSql } from './connection.ts';

export interface TableColumn {
  name: string;
  /** As pg_type has it: `float8`, `geometry`. */
  type: string;
  notNull: boolean;
  hasDefault: boolean;
}

export interface Table {
  columns: ReadonlyMap<string, TableColumn>;
  /** In order. */
  primaryKey: string[];
}

/** A table as it is; null where there is none. */
export async function tableAsIs(tx: TransactionSql, table: string): Promise<Table | null> {
  const rows = await tx<(TableColumn & { place: number | null })[]>`
    SELECT attname AS name, typname AS type, attnotnull AS "notNull", atthasdef AS "hasDefault",
      array_position(conkey, attnum) AS place
    FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
    LEFT JOIN pg_constraint ON conrelid = attrelid AND contype = 'p'
    WHERE attrelid = to_regclass(${table}) AND attnum > 0 AND NOT attisdropped`;
  if (rows.length === 0) return null;
  const inKey = rows.filter(({ place }) => place !== null);
  inKey.sort((a, b) => (a.place ?? 0) - (b.place ?? 0));
  return {
    columns: new Map(rows.map((row) => [row.name, row])),
    primaryKey: inKey.map(({ name }) => name),
  };
}
