import type { LogRecord } from '../../domain/log.ts';
import { parseTraceparent } from '../../domain/trace-context.ts';

/** The records of one batch, decompressed. */
export interface RecordBatch {
  data: Buffer;
  /** Where the next one begins, and how many are left. */
  at: number;
  records: number;
  baseOffset: number;
  baseTimestamp: number;
  /** Of all its records, where the topic has LogAppendTime. */
  appendedMs: number | null;
}

/** @throws Error where what stands there is no record */
export function readRecord(cursor: Cursor, batch: RecordBatch): LogRecord {
  const { data } = cursor;
  const end = cursor.varint() + cursor.at;
  if (!(end <= data.length)) throw unreadable(batch);
  cursor.at++;
  const timestamp = batch.baseTimestamp + cursor.varint();
  const offset = batch.baseOffset + cursor.varint();
  const keyBytes = cursor.varint();
  const keyAt = cursor.pass(keyBytes);
  const valueBytes = cursor.varint();
  const valueAt = cursor.pass(valueBytes);
  let topic: string | null = null;
  let traceparent: string | null = null;
  for (let headers = cursor.varint(); headers > 0 && cursor.at < end; headers--) {
    const name = cursor.headerName();
    const text = cursor.text();
    if (name === 'topic') topic ??= text;
    else if (name === 'traceparent') traceparent ??= text;
  }
  if (cursor.at !== end) throw unreadable(batch);
  return new KafkaRecord(
    offset,
    batch.appendedMs ?? timestamp,
    topic,
    // A tombstone has no value: it becomes a dead letter like any other empty payload.
    valueBytes > 0 ? data.subarray(valueAt, valueAt + valueBytes) : NO_BYTES,
    // Anybody may have written it.
    traceparent !== null && parseTraceparent(traceparent) ? traceparent : null,
    keyBytes < 0 ? null : { data, from: keyAt, to: keyAt + keyBytes },
  );
}

const NO_BYTES = new Uint8Array();

/** Nobody asks for the key of a record that becomes a reading. */
class KafkaRecord implements LogRecord {
  readonly arrivalMs: number;
  constructor(
    readonly offset: number,
    timestamp: number,
    readonly topic: string | null,
    readonly value: Uint8Array,
    readonly traceparent: string | null,
    private readonly keyBytes: { data: Buffer; from: number; to: number } | null,
  ) {
    // Negative: the producer had no clock to ask.
    this.arrivalMs = timestamp >= 0 ? timestamp : Date.now();
  }

  get key(): string | null {
    if (this.keyBytes === null) return null;
    const { data, from, to } = this.keyBytes;
    return data.toString('utf8', from, to);
  }
}

export function unreadable({ baseOffset }: RecordBatch): Error {
  return new Error(`the record batch at offset ${baseOffset} can't be read: is the log damaged?`);
}

/** Goes through the fields of records. Behind the end of the data it reads zeros. */
export class Cursor {
  constructor(
    readonly data: Buffer,
    public at: number,
  ) {}

  /** Zigzag, seven bits a byte, the lowest first. */
  varint(): number {
    const { data } = this;
    let byte = data[this.at++] as number;
    let low = byte & 0x7f;
    let shift = 7;
    for (; byte & 0x80 && shift < 28; shift += 7) {
      byte = data[this.at++] as number;
      low |= (byte & 0x7f) << shift;
    }
    if (!(byte & 0x80)) return (low >>> 1) ^ -(low & 1);
    return this.#long(low);
  }

  /** From the fifth byte on bits would be lost: of times that are weeks apart, for instance. */
  #long(low: number): number {
    let value = low;
    let factor = 2 ** 28;
    let byte: number;
    do {
      byte = this.data[this.at++] as number;
      value += (byte & 0x7f) * factor;
      factor *= 0x80;
    } while (byte & 0x80);
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** Goes past so many bytes, none where that is -1. @returns where they begin */
  pass(bytes: number): number {
    const from = this.at;
    if (bytes > 0) this.at += bytes;
    return from;
  }

  /** Null where the length is -1. */
  text(): string | null {
    const bytes = this.varint();
    const from = this.pass(bytes);
    return bytes < 0 ? null : this.data.toString('utf8', from, this.at);
  }

  headerName(): string | null {
    const { data, at } = this;
    // `topic`, behind its length: nearly every record has it, and no other.
    if (
      data[at] === 10 &&
      data[at + 1] === 0x74 &&
      data[at + 2] === 0x6f &&
      data[at + 3] === 0x70 &&
      data[at + 4] === 0x69 &&
      data[at + 5] === 0x63
    ) {
      this.at += 6;
      return 'topic';
    }
    return this.text();
  }
}
