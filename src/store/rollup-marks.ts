import { rollupStart } from '../domain/rollup.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import type { TransactionSql } from './connection.ts';
import type { StoredReading } from './copy-readings.ts';
import { jsonLiteral } from './literal.ts';

/** What a writer of readings has to know of the rollups. */
export interface RollupHorizon {
  /** Each older reading wants a mark. */
  horizon: Micros;
  generation: number;
}

/**
 * Undefined where nothing is rolled up. The caller holds the row lock of its watermark already:
 * whoever moves the horizon then takes each of those locks once, and so has waited for all who may
 * have read the former one.
 */
export async function readRollupHorizon(tx: TransactionSql): Promise<RollupHorizon | undefined> {
  const [row] = await tx.unsafe<RollupHorizon[]>('SELECT horizon, generation FROM rollup_progress');
  return row;
}

/**
 * Marks the steps of those readings that are older than the horizon, in their transaction. A mark
 * that is there already will do: it is of this generation, which nobody works off yet.
 */
export async function markRollups(
  tx: TransactionSql,
  { horizon, generation }: RollupHorizon,
  rows: readonly StoredReading[],
): Promise<void> {
  const marks = new Map<string, { user_id: string; device_id: string; bucket: string }>();
  for (const { reading } of rows) {
    if (reading.time >= horizon) continue;
    const { userId, deviceId } = reading;
    const bucket = rollupStart(reading.time);
    const key = `${bucket}/${userId}/${deviceId}`;
    if (marks.has(key)) continue;
    marks.set(key, { user_id: userId, device_id: deviceId, bucket: formatMicros(bucket) });
  }
  if (marks.size === 0) return;
  await tx.unsafe(
    `INSERT INTO rollup_marks (user_id, device_id, bucket, generation)
     SELECT user_id, device_id, bucket, ${generation}
     FROM json_to_recordset(${jsonLiteral([...marks.values()])})
       AS m(user_id text, device_id text, bucket timestamptz)
     ORDER BY user_id, device_id, bucket
     ON CONFLICT DO NOTHING`,
  );
}
