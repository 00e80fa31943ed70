import { Writable } from 'node:stream';
import type { Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import type { TransactionSql } from './connection.ts';
import { encodeCopy } from './encode-copy.ts';
import type { PointTypes } from './point-columns.ts';

/** A reading as the table takes it. `extraText` is the JSON of its undeclared fields. */
export interface StoredReading {
  reading: Reading;
  extraText: string | null;
}

/**
 * COPYs readings into the table, all or nothing: the fastest way in for many.
 *
 * The client never settles a COPY that the server refuses after its last byte, so nothing waits for
 * the stream here: COPY runs under the simple protocol, where the server goes on to the
 * transaction's next statement even after an error. That statement tells how it went: it fails with
 * 25P02 (`COPY_REFUSED`) when the COPY has aborted the transaction.
 */
export async function copyReadings(
  tx: TransactionSql,
  model: Model,
  rows: readonly StoredReading[],
  points: PointTypes,
): Promise<void> {
  const names = [...model.key, ...model.columnNames, model.extraColumn];
  const copy = tx.unsafe(`COPY ${model.table} (${names.join(', ')}) FROM STDIN (FORMAT binary)`);
  const stream = await listened(copy).writable();
  await new Promise<void>((resolve) => {
    stream.once('close', resolve);
    stream.write(encodeCopy(model, rows, points), () => resolve());
  });
  stream.end();
  // The stream sends CopyDone on the next tick; until then the client takes no other statement.
  await new Promise<void>((resolve) => setImmediate(resolve));
}

/**
 * Listens for errors from the stream's first moment: where the connection ends with the answer that
 * makes the stream, it emits one before a caller could listen, and that would end the process.
 * What went wrong shows in the transaction's next statement.
 */
function listened<Query extends object>(query: Query): Query {
  const deferred = query as { resolve: (result: unknown) => void };
  const { resolve } = deferred;
  deferred.resolve = (result) => {
    if (result instanceof Writable) result.on('error', () => {});
    resolve(result);
  };
  return query;
}

/** in_failed_sql_transaction */
export const COPY_REFUSED = '25P02';
