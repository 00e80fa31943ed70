import type { Model } from '../domain/model.ts';
import type { Reading } from '../domain/reading.ts';
import { formatMicros } from '../domain/time.ts';
import type { TransactionSql } from './connection.ts';
import type { StoredReading } from './copy-readings.ts';
import { literal } from './literal.ts';
import { type PointTypes, pointText } from './point-columns.ts';
import { keyColumns, sqlType } from './readings-schema.ts';

/**
 * Inserts readings, leaving out those whose key is there already: for many slower than COPY, but it
 * takes a redelivery, and is a statement like any other, for a small batch's message.
 */
export async function insertReadings(
  tx: TransactionSql,
  model: Model,
  rows: readonly StoredReading[],
  points: PointTypes,
): Promise<void> {
  await tx.unsafe(insertStatement(model, rows, points));
}

/** The same as a statement. */
export function insertStatement(
  model: Model,
  rows: readonly StoredReading[],
  points: PointTypes,
): string {
  const columns = [
    ...keyColumns(model),
    ...Object.entries(model.columns).map(
      ([name, column]) => `${name} ${sqlType(column) ?? points.get(name)}`,
    ),
    `${model.extraColumn} jsonb`,
  ];
  const names = [...model.key, ...model.columnNames, model.extraColumn].join(', ');
  return `INSERT INTO ${model.table} (${names})
     SELECT ${names} FROM json_to_recordset(${literal(encodeJson(model, rows, points))}::json) AS r(${columns.join(', ')})
     ON CONFLICT DO NOTHING`;
}

/** The rows as JSON text. The undeclared fields go in as they are, so no digit is lost. */
function encodeJson(model: Model, rows: readonly StoredReading[], points: PointTypes): string {
  const { owner, device, sequence } = model;
  const texts = rows.map(({ reading, extraText }) => {
    const { userId, deviceId, sequenceId, columns } = reading;
    const head = JSON.stringify({
      time: formatMicros(reading.time),
      ...('column' in owner ? { [owner.column]: userId } : {}),
      [device.column]: deviceId,
      ...(sequence === null ? {} : { [sequence.column]: sequenceId }),
      ...(points.size === 0 ? columns : withPoints(columns, points)),
    });
    return extraText === null ? head : `${head.slice(0, -1)},"${model.extraColumn}":${extraText}}`;
  });
  return `[${texts.join(',')}]`;
}

function withPoints(columns: Reading['columns'], points: PointTypes): Reading['columns'] {
  const result = { ...columns };
  for (const [name, type] of points) {
    const point = columns[name];
    if (typeof point === 'object' && point !== null) result[name] = pointText(point, type);
  }
  return result;
}
