import type { Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import { formatMicros } from '../domain/time.ts';
import type { TransactionSql } from './connection.ts';

/** A reading as the table takes it. `extraText` is the JSON of its undeclared fields. */
export interface StoredReading {
  reading: Reading;
  extraText: string | null;
}

/** A COPY in which the server refused something: a duplicate key, most often. */
export class CopyRefused extends Error {
  readonly code = 'COPY_REFUSED';
}

/**
 * COPYs readings into the table, all or nothing: the fastest way in, and the first one tried.
 *
 * The client never settles a COPY that the server refuses after its last byte, so this doesn't wait
 * for the stream: COPY runs under the simple protocol, where the server is ready for the next
 * statement even after an error, and that statement tells how it went. It fails with 25P02 in a
 * transaction that the COPY has aborted.
 *
 * @throws CopyRefused when the transaction has to start again with an insert
 */
export async function copyReadings(
  tx: TransactionSql,
  model: Model,
  rows: readonly StoredReading[],
): Promise<void> {
  const names = [...model.key, ...model.columnNames, model.extraColumn];
  const stream = await tx.unsafe(`COPY ${model.table} (${names.join(', ')}) FROM STDIN`).writable();
  // Refused while the rows still flow, the stream is destroyed with the server's error.
  stream.on('error', () => {});
  await new Promise<void>((resolve, reject) => {
    stream.once('error', reject);
    stream.write(encodeCopy(model, rows), (error) => (error ? reject(error) : resolve()));
  }).catch((error: unknown) => {
    throw new CopyRefused('COPY was refused', { cause: error });
  });
  stream.end();
  // The stream sends CopyDone on the next tick; until then the client takes no other statement.
  await new Promise<void>((resolve) => setImmediate(resolve));
  try {
    await tx`SELECT 1`.simple();
  } catch (error) {
    throw new CopyRefused('COPY was refused', { cause: error });
  }
}

/** The rows in COPY's text format. */
export function encodeCopy(model: Model, rows: readonly StoredReading[]): string {
  let text = '';
  for (const { reading, extraText } of rows) {
    text += `${formatMicros(reading.time)}\t${escape(reading.userId)}\t${escape(reading.deviceId)}\t`;
    text += reading.sequenceId;
    for (const name of model.columnNames) {
      const value = reading.columns[name] ?? null;
      text += value === null ? '\t\\N' : `\t${typeof value === 'string' ? escape(value) : value}`;
    }
    text += extraText === null ? '\t\\N\n' : `\t${escape(extraText)}\n`;
  }
  return text;
}

const SPECIAL = /[\\\t\n\r]/;
const ESCAPES: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

function escape(text: string): string {
  return SPECIAL.test(text) ? text.replace(/[\\\t\n\r]/g, (c) => ESCAPES[c] as string) : text;
}
