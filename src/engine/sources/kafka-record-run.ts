import { CompressionCodecs } from 'kafkajs';
import type { LogRecord } from '../../domain/log.ts';
import { Cursor, type RecordBatch, readRecord, unreadable } from './kafka-record.ts';

/**
 * What one fetch brought of a partition: the bytes of its record batches, of which records are made
 * as they are read. So what waits to be read is a few large buffers, not objects.
 */
export interface RecordRun {
  /** The last offset that it covers, be it of a record or of a transaction's marker. */
  readonly lastOffset: number;
  /** That are left, those that are skipped among them. */
  readonly records: number;
  /** Of memory, until the last record of it is let go. */
  readonly bytes: number;
  /** Goes past all records before it. */
  skipTo(offset: number): void;
  /** Moves up to `max` of its next records to the end of `into`. @returns false once it has no more */
  read(into: LogRecord[], max: number): boolean;
}

/** A transaction that was given up: what its producer wrote from there on is not to be seen. */
export interface AbortedTransaction {
  producerId: number;
  firstOffset: number;
}

/**
 * The format of Kafka 0.11 and later, "Record Batch" in the protocol's documentation: a head of 61
 * bytes that holds the length behind the first 12 of them.
 */
const HEAD_BYTES = 61;
const LENGTH_FROM = 12;
const MAGIC = 2;
const CODEC_MASK = 0x07;
const LOG_APPEND_TIME = 0x08;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
const ABORT_MARKER = 0;

/**
 * Whole record batches of `data`; a broker cuts the last one off where its limit of bytes ends. Null
 * where there is none.
 *
 * @param data of its own: it is held until its records are read
 * @throws Error on what is no record batch of that format
 */
export async function openRecordRun(
  data: Buffer,
  abortedTransactions: readonly AbortedTransaction[],
): Promise<RecordRun | null> {
  const aborted = [...abortedTransactions].sort((a, b) => a.firstOffset - b.firstOffset);
  const aborting = new Set<number>();
  const batches: RecordBatch[] = [];
  let lastOffset: number | null = null;
  let bytes = 0;
  for (let at = 0; at + HEAD_BYTES <= data.length; ) {
    const end = at + LENGTH_FROM + data.readInt32BE(at + 8);
    if (data[at + 16] !== MAGIC) {
      throw new Error('the records are in a format from before Kafka 0.11, which is not read');
    }
    if (end > data.length) break;
    const attributes = data.readInt16BE(at + 21);
    const baseOffset = int64(data, at);
    lastOffset = baseOffset + data.readInt32BE(at + 23);
    const producerId = int64(data, at + 43);
    while (aborted[0] !== undefined && aborted[0].firstOffset <= lastOffset) {
      aborting.add((aborted.shift() as AbortedTransaction).producerId);
    }
    if (attributes & CONTROL) {
      if (markerType(data, at + HEAD_BYTES) === ABORT_MARKER) aborting.delete(producerId);
    } else if (!(attributes & TRANSACTIONAL && aborting.has(producerId))) {
      const codec = attributes & CODEC_MASK;
      const records = data.subarray(at + HEAD_BYTES, end);
      const plain = codec === 0 ? records : await decompress(codec, records);
      bytes += plain.length;
      batches.push({
        data: plain,
        at: 0,
        records: data.readInt32BE(at + 57),
        baseOffset,
        baseTimestamp: int64(data, at + 27),
        appendedMs: attributes & LOG_APPEND_TIME ? int64(data, at + 35) : null,
      });
    }
    at = end;
  }
  return lastOffset === null ? null : runOf(batches, lastOffset, bytes);
}

/** @param codec one of kafkajs' `CompressionTypes` */
async function decompress(codec: number, records: Buffer): Promise<Buffer> {
  const open = (CompressionCodecs as Record<number, () => { decompress: Decompress }>)[codec];
  if (open === undefined)
    throw new Error(`records are compressed by codec ${codec}, which is unknown`);
  return await open().decompress(records);
}

type Decompress = (data: Buffer) => Promise<Buffer>;

/** A marker is a record whose key is its version and its type. */
function markerType(data: Buffer, at: number): number {
  const cursor = new Cursor(data, at);
  cursor.varint();
  cursor.at++;
  cursor.varint();
  cursor.varint();
  cursor.varint();
  return data.readInt16BE(cursor.at + 2);
}

/** In place of one that can't be opened: says so to whoever reads it. */
export function unreadableRun(error: Error, lastOffset: number): RecordRun {
  return {
    lastOffset,
    records: 1,
    bytes: 0,
    skipTo: () => {},
    read() {
      throw error;
    },
  };
}

function runOf(batches: RecordBatch[], lastOffset: number, bytes: number): RecordRun {
  let records = batches.reduce((sum, batch) => sum + batch.records, 0);
  let head = 0;
  let from = 0;
  return {
    lastOffset,
    get records() {
      return records;
    },
    bytes,
    skipTo(offset) {
      from = offset;
    },
    read(into, max) {
      const full = into.length + max;
      for (let batch = batches[head]; batch !== undefined; batch = batches[++head]) {
        const cursor = new Cursor(batch.data, batch.at);
        while (batch.records > 0 && into.length < full) {
          const record = readRecord(cursor, batch);
          batch.records--;
          records--;
          if (record.offset >= from) into.push(record);
        }
        batch.at = cursor.at;
        if (batch.records > 0) return true;
        if (cursor.at !== batch.data.length) throw unreadable(batch);
      }
      return false;
    },
  };
}

/** As a number: exact to 2^53, which offsets and times don't reach. */
export function int64(data: Buffer, at: number): number {
  return data.readInt32BE(at) * 2 ** 32 + data.readUInt32BE(at + 4);
}
