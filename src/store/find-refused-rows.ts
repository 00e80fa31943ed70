import type { Model } from '../domain/model.ts';
import type { Sql, TransactionSql } from './connection.ts';
import type { StoredReading } from './copy-readings.ts';
import { failureKind } from './failure.ts';
import { insertReadings } from './insert-readings.ts';
import { setLocalTimeouts } from './local-timeouts.ts';
import { readPointTypes } from './point-columns.ts';

/**
 * Finds the rows that the database refuses, by halving under savepoints: about 2 k log2 n inserts
 * for k refused rows of n. Everything is rolled back; the caller writes the batch without them.
 *
 * @returns each refused row with the database's reason
 */
export async function findRefusedRows<Row extends StoredReading>(
  sql: Sql,
  model: Model,
  rows: readonly Row[],
): Promise<{ row: Row; detail: string }[]> {
  const points = await readPointTypes(sql, model);
  const refused: { row: Row; detail: string }[] = [];
  const done = Symbol('rolled back on purpose');

  async function probe(tx: TransactionSql, part: readonly Row[]): Promise<void> {
    try {
      await tx.savepoint((inner) =>
        insertReadings(inner as unknown as TransactionSql, model, part, points),
      );
    } catch (error) {
      if (failureKind(error) !== 'row') throw error;
      const only = part[0];
      if (part.length === 1 && only !== undefined) {
        refused.push({ row: only, detail: (error as Error).message });
        return;
      }
      const middle = part.length >> 1;
      await probe(tx, part.slice(0, middle));
      await probe(tx, part.slice(middle));
    }
  }

  try {
    await sql.begin(async (transactionSql) => {
      const tx = transactionSql as unknown as TransactionSql;
      await setLocalTimeouts(tx);
      await probe(tx, rows);
      throw done;
    });
  } catch (error) {
    if (error !== done) throw error;
  }
  return refused;
}
