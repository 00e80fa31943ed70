import type { Column, Model } from '../domain/model.ts';
import type { GeoPoint } from '../domain/point.ts';
import type { Micros } from '../domain/time.ts';
import type { StoredReading } from './copy-readings.ts';
import type { PointTypes } from './point-columns.ts';

/** What the columns hold: one that the model declares, or the server's type of a point. */
interface Field {
  name: string;
  type: Exclude<Column['type'], 'point'> | 'point' | 'geometry';
}

/** 2000-01-01, from which PostgreSQL counts. */
const POSTGRES_EPOCH: Micros = 946_684_800_000_000;
const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
/** No flags, and no extension of the header. */
const HEADER_BYTES = SIGNATURE.length + 8;
const END = -1;
const NULL = -1;
/** Of a column at the most, with its length; the characters of a text aside. */
const FIXED_BYTES = 32;
/** Of a UTF-16 unit as UTF-8. */
const UNIT_BYTES = 3;
const JSONB_VERSION = 1;
const FIRST_ROWS_BYTES = 200;

/**
 * The rows in COPY's binary format (PostgreSQL's manual, "COPY: Binary Format"), so that neither
 * side writes or reads a time or a number as text.
 */
export function encodeCopy(
  model: Model,
  rows: readonly StoredReading[],
  points: PointTypes,
): Buffer {
  const hasOwner = 'column' in model.owner;
  const hasSequence = model.sequence !== null;
  const fields = model.columnNames.map((name) => fieldOf(model, name, points));
  const texts = fields.filter(({ type }) => type === 'text');
  const count = model.key.length + fields.length + 1;
  const out = new CopyBuffer(HEADER_BYTES + (rows.length + 1) * FIRST_ROWS_BYTES);
  out.header();
  for (const { reading, extraText } of rows) {
    const { userId, deviceId } = reading;
    let units = userId.length + deviceId.length + (extraText?.length ?? 0);
    for (const { name } of texts) units += (reading.columns[name] as string | null)?.length ?? 0;
    out.reserve(count * FIXED_BYTES + units * UNIT_BYTES);
    out.int16(count);
    out.int64(reading.time - POSTGRES_EPOCH);
    if (hasOwner) out.text(userId);
    out.text(deviceId);
    if (hasSequence) out.int64(reading.sequenceId);
    for (const { name, type } of fields) {
      const value = reading.columns[name] ?? null;
      if (value === null) out.int32(NULL);
      else if (type === 'double') out.double(value as number);
      else if (type === 'integer') out.integer(value as number);
      else if (type === 'boolean') out.boolean(value as boolean);
      else if (type === 'text') out.text(value as string);
      else if (type === 'point') out.point(value as GeoPoint);
      else out.geometry(value as GeoPoint);
    }
    if (extraText === null) out.int32(NULL);
    else out.jsonb(extraText);
  }
  out.reserve(2);
  out.int16(END);
  return out.bytes();
}

function fieldOf(model: Model, name: string, points: PointTypes): Field {
  const { type } = model.columns[name] as Column;
  if (type !== 'point') return { name, type };
  return { name, type: points.get(name) === 'point' ? 'point' : 'geometry' };
}

/** EWKB: a point, with the number of its reference system, which is that of GPS. */
const EWKB_POINT = 0x20000001;
const WGS84 = 4326;
const BIG_ENDIAN = 0;
const GEOMETRY_BYTES = 25;
/** Up to here a loop over the characters is faster than a call of the runtime. */
const SHORT = 24;

/** Grows as it is written to; what is written must be reserved before. */
class CopyBuffer {
  #buffer: Buffer;
  #view: DataView;
  #at = 0;

  constructor(bytes: number) {
    this.#buffer = Buffer.allocUnsafe(bytes);
    this.#view = viewOf(this.#buffer);
  }

  reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(this.#buffer.length * 2 + bytes);
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
    this.#view = viewOf(larger);
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  header(): void {
    SIGNATURE.copy(this.#buffer);
    this.#buffer.fill(0, SIGNATURE.length, HEADER_BYTES);
    this.#at = HEADER_BYTES;
  }

  int16(value: number): void {
    this.#view.setInt16(this.#at, value);
    this.#at += 2;
  }

  int32(value: number): void {
    this.#view.setInt32(this.#at, value);
    this.#at += 4;
  }

  integer(value: number): void {
    this.int32(4);
    this.int32(value);
  }

  int64(value: number): void {
    const high = Math.floor(value / 2 ** 32);
    this.int32(8);
    this.int32(high);
    this.#view.setUint32(this.#at, value - high * 2 ** 32);
    this.#at += 4;
  }

  double(value: number): void {
    this.int32(8);
    this.#float64(value);
  }

  boolean(value: boolean): void {
    this.int32(1);
    this.#buffer[this.#at++] = value ? 1 : 0;
  }

  text(value: string): void {
    const from = this.#at;
    this.#at += 4;
    this.#utf8(value);
    this.#view.setInt32(from, this.#at - from - 4);
  }

  jsonb(value: string): void {
    const from = this.#at;
    this.#at += 4;
    this.#buffer[this.#at++] = JSONB_VERSION;
    this.#utf8(value);
    this.#view.setInt32(from, this.#at - from - 4);
  }

  point({ latitude, longitude }: GeoPoint): void {
    this.int32(16);
    this.#float64(longitude);
    this.#float64(latitude);
  }

  geometry({ latitude, longitude }: GeoPoint): void {
    this.int32(GEOMETRY_BYTES);
    this.#buffer[this.#at++] = BIG_ENDIAN;
    this.int32(EWKB_POINT);
    this.int32(WGS84);
    this.#float64(longitude);
    this.#float64(latitude);
  }

  #float64(value: number): void {
    this.#view.setFloat64(this.#at, value);
    this.#at += 8;
  }

  #utf8(value: string): void {
    const buffer = this.#buffer;
    const from = this.#at;
    if (value.length <= SHORT) {
      let i = 0;
      for (; i < value.length; i++) {
        const code = value.charCodeAt(i);
        if (code > 0x7f) break;
        buffer[from + i] = code;
      }
      if (i === value.length) {
        this.#at += i;
        return;
      }
    }
    this.#at += buffer.write(value, from);
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
