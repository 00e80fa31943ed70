import type { Model } from '../domain/model.ts';
import { type ModelRecord, modelRecord } from '../domain/model-change.ts';
import type { TransactionSql } from './connection.ts';
import { literal } from './literal.ts';

export function streamModelSchema(model: Model): string {
  return `
-- The model that the tables are made for; each start compares its own. One row. Without it the next
-- start takes the tables as they are.
CREATE TABLE stream_model (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  model jsonb NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO stream_model (model) VALUES
  (${literal(JSON.stringify(modelRecord(model)))});`;
}

/** Null where the row was deleted, or the database is older than the table. */
export async function readStreamModel(tx: TransactionSql): Promise<ModelRecord | null> {
  const [found] = await tx`SELECT WHERE to_regclass('stream_model') IS NOT NULL`;
  if (found === undefined) return null;
  const [row] = await tx<{ model: string }[]>`SELECT model::text FROM stream_model`;
  return row === undefined ? null : (JSON.parse(row.model) as ModelRecord);
}

export async function saveStreamModel(tx: TransactionSql, model: Model): Promise<void> {
  const text = JSON.stringify(modelRecord(model));
  await tx`
    INSERT INTO stream_model (model) VALUES (${text}::text::jsonb)
    ON CONFLICT (is_only) DO UPDATE SET model = excluded.model, changed_at = now()`;
}
