import { CsvError, parse } from 'csv-parse/sync';
import { MICROS_PER_MS, MICROS_PER_SECOND, type Micros, parseRfc3339 } from '../domain/time.ts';
import { type Fields, place } from './fleet.ts';

/** A row of the file that can be published. */
export interface RecordedRow {
  /** The row's number, 1 for the first after the header. */
  sequenceId: number;
  time: Micros;
  fields: Fields;
  /** Payload field -> value: what the rules see. */
  values: ReadonlyMap<string, number>;
}

export interface Recording {
  rows: RecordedRow[];
  malformed: { line: number; reason: string }[];
}

export interface RecordingOptions {
  timeColumn: string;
  columns: readonly { column: string; field: string }[];
  /** Rows dated later are malformed: the server would store them without judging them. */
  latest: Micros;
}

/** A file that can't be read as a recording at all. */
export class RecordingError extends Error {}

const EARLIEST: Micros = Date.UTC(2000, 0, 1) * MICROS_PER_MS;

/** Reads a CSV file with a header. The file is held in memory. */
export function readRecording(text: string, options: RecordingOptions): Recording {
  const [header, ...records] = parseCsv(text);
  if (header === undefined) throw new RecordingError('the file is empty');
  const names = header.record.map((name) => name.trim());
  const timeIndex = indexOf(names, options.timeColumn, '--time-column');
  const columns = options.columns.map(({ column, field }) => ({
    index: indexOf(names, column, '--map'),
    column,
    field,
  }));
  const recording: Recording = { rows: [], malformed: [] };
  records.forEach(({ record, line }, index) => {
    const row =
      record.length === names.length
        ? readRow({ record, sequenceId: index + 1, timeIndex, columns, latest: options.latest })
        : `${record.length} cells where the header has ${names.length}`;
    if (typeof row === 'string') recording.malformed.push({ line, reason: row });
    else recording.rows.push(row);
  });
  return recording;
}

/** One row; or, in words, why it can't be published. */
function readRow(from: {
  record: readonly string[];
  sequenceId: number;
  timeIndex: number;
  columns: readonly { index: number; column: string; field: string }[];
  latest: Micros;
}): RecordedRow | string {
  const cellAt = (index: number) => (from.record[index] ?? '').trim();
  const time = readTime(cellAt(from.timeIndex));
  if (time === null) return `"${cellAt(from.timeIndex)}" is no time`;
  if (time < EARLIEST || time > from.latest) {
    return `"${cellAt(from.timeIndex)}" is before 2000 or in the future`;
  }
  const fields: Fields = {};
  const values = new Map<string, number>();
  for (const { index, column, field } of from.columns) {
    const cell = cellAt(index);
    if (cell === '') continue;
    const value = Number(cell);
    if (!Number.isFinite(value)) return `${column} is "${cell}", not a number`;
    values.set(field, value);
    place(fields, field, value);
  }
  return { sequenceId: from.sequenceId, time, fields, values };
}

function parseCsv(text: string): { record: string[]; line: number }[] {
  type Parsed = { record: string[]; info: { lines: number } };
  try {
    const parsed = parse(text, {
      bom: true,
      info: true,
      relax_column_count: true,
      skip_empty_lines: true,
    }) as unknown as Parsed[];
    return parsed.map(({ record, info }) => ({ record, line: info.lines }));
  } catch (error) {
    if (error instanceof CsvError) throw new RecordingError(error.message);
    throw error;
  }
}

function indexOf(names: readonly string[], name: string, option: string): number {
  const index = names.indexOf(name);
  if (index >= 0) return index;
  throw new RecordingError(
    `${option}: the file has no column "${name}", it has ${names.join(', ')}`,
  );
}

const EPOCH_MS_FROM = 1e11;

/** RFC 3339, the same without a zone (UTC) or with a blank for the T, or epoch s or ms. */
export function readTime(cell: string): Micros | null {
  const text = cell.trim();
  if (/^\d+(\.\d+)?$/.test(text)) {
    const epoch = Number(text);
    return Math.round(epoch * (epoch < EPOCH_MS_FROM ? MICROS_PER_SECOND : MICROS_PER_MS));
  }
  const date =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?)?\s*(Z|[+-]\d\d:\d\d)?$/i.exec(text);
  if (date === null) return null;
  const [, day, minutes = '00:00', seconds = ':00', zone = 'Z'] = date;
  return parseRfc3339(`${day}T${minutes}${seconds}${zone}`);
}
