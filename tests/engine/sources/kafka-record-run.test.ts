import '../../../src/engine/sources/kafkajs-patch.ts';
import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { CompressionTypes } from 'kafkajs';
// @ts-expect-error: not in its types
import Decoder from 'kafkajs/src/protocol/decoder.js';
// @ts-expect-error: not in its types
import encodeRecord from 'kafkajs/src/protocol/recordBatch/record/v0/index.js';
// @ts-expect-error: not in its types
import decodeBatch from 'kafkajs/src/protocol/recordBatch/v0/decoder.js';
// @ts-expect-error: not in its types
import { RecordBatch } from 'kafkajs/src/protocol/recordBatch/v0/index.js';
import type { LogRecord } from '../../../src/domain/log.ts';
import { openRecordRun, type RecordRun } from '../../../src/engine/sources/kafka-record-run.ts';

interface Made {
  key: Uint8Array | null;
  value: Uint8Array | null;
  headers: Record<string, string | string[]>;
  /** From the batch's first one. */
  offsetDelta: number;
  timestampDelta: number;
}

const bytes = fc.option(fc.uint8Array({ maxLength: 300 }), { nil: null });
const header = fc.oneof(fc.string(), fc.array(fc.string(), { minLength: 1, maxLength: 3 }));
const record = fc.record({
  key: bytes,
  value: bytes,
  headers: fc.dictionary(
    fc.oneof(fc.constant('topic'), fc.constant('traceparent'), fc.string()),
    header,
    { noNullPrototype: true },
  ),
  gap: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 2 ** 20 })),
  timestampDelta: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
});
const records = fc.array(record, { minLength: 1, maxLength: 20 }).map((some) => {
  let offsetDelta = -1;
  return some.map(({ gap, ...one }): Made => {
    offsetDelta += gap;
    return { ...one, offsetDelta };
  });
});
const batch = fc.record({
  records,
  firstOffset: fc.maxSafeInteger().map((n) => Math.floor(Math.abs(n) / 4)),
  firstTimestamp: fc.integer({ min: 2 ** 41, max: 2 ** 42 }),
  codec: fc.constantFrom(0, CompressionTypes.GZIP, CompressionTypes.ZSTD),
  appended: fc.option(fc.integer({ min: 0, max: 2 ** 42 }), { nil: null }),
});
type Batch = typeof batch extends fc.Arbitrary<infer T> ? T : never;

const LOG_APPEND_TIME = 0x08;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;

async function encode(
  { records: some, firstOffset, firstTimestamp, codec, appended }: Batch,
  { attributes = 0, producerId = -1 } = {},
): Promise<Buffer> {
  const buffer = (value: Uint8Array | null) => (value === null ? null : Buffer.from(value));
  const encoder = await RecordBatch({
    compression: codec,
    firstOffset,
    firstTimestamp,
    maxTimestamp: appended ?? firstTimestamp,
    lastOffsetDelta: some.at(-1)?.offsetDelta,
    producerId,
    records: some.map((one) =>
      encodeRecord({ ...one, key: buffer(one.key), value: buffer(one.value) }),
    ),
  });
  const data: Buffer = encoder.buffer;
  data.writeInt16BE(codec | attributes | (appended === null ? 0 : LOG_APPEND_TIME), 21);
  return data;
}

/** As kafkajs reads it, and as the source once made records of that. */
async function asKafkajs(data: Buffer) {
  const { records: decoded } = await decodeBatch(new Decoder(Buffer.from(data)));
  // biome-ignore lint/suspicious/noExplicitAny: it has no types
  return decoded.map(({ offset, timestamp, key, value, headers }: any) => {
    const first = (name: string) =>
      Object.hasOwn(headers, name) ? [headers[name]].flat()[0].toString() : null;
    return {
      offset: Number(offset),
      arrivalMs: Number(timestamp),
      key: key === null ? null : key.toString(),
      topic: first('topic'),
      value: Buffer.from(value ?? []),
    };
  });
}

function readAll(run: RecordRun | null, atOnce: number): LogRecord[] {
  const read: LogRecord[] = [];
  while (run?.read(read, atOnce));
  return read;
}

const plain = ({ offset, arrivalMs, key, topic, value }: LogRecord) => ({
  offset,
  arrivalMs,
  key,
  topic,
  value: Buffer.from(value),
});

/** One record of its number, of a producer. */
function written(offset: number, options: { attributes?: number; producerId?: number } = {}) {
  const made = { key: null, headers: {}, offsetDelta: 0, timestampDelta: 0 };
  const value = Buffer.from(`${offset}`);
  const appended = null;
  return encode(
    { records: [{ ...made, value }], firstOffset: offset, firstTimestamp: 1, codec: 0, appended },
    options,
  );
}

/** Its key says what it is: version 0, then 0 for an abort and 1 for a commit. */
async function marker(offset: number, type: 0 | 1, producerId: number) {
  const made = { value: null, headers: {}, offsetDelta: 0, timestampDelta: 0 };
  const key = Buffer.from([0, 0, 0, type]);
  return await encode(
    {
      records: [{ ...made, key }],
      firstOffset: offset,
      firstTimestamp: 1,
      codec: 0,
      appended: null,
    },
    { attributes: CONTROL | TRANSACTIONAL, producerId },
  );
}

describe('a run of records', () => {
  test('holds what kafkajs reads, however it is read', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(batch, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 30 }),
        async (batches, atOnce) => {
          const encoded = await Promise.all(batches.map((one) => encode(one)));
          const expected = (await Promise.all(encoded.map(asKafkajs))).flat();
          const run = await openRecordRun(Buffer.concat(encoded), []);
          expect(run?.records).toBe(expected.length);
          expect(readAll(run, atOnce).map(plain)).toEqual(expected);
          expect(run?.records).toBe(0);
        },
      ),
    );
  });

  test('leaves out a batch that was cut off, and says how far it goes', async () => {
    const [one, two] = [await written(7), await written(8)];
    for (let length = 0; length < one.length + two.length; length++) {
      const run = await openRecordRun(Buffer.concat([one, two]).subarray(0, length), []);
      const offsets = readAll(run, 10).map(({ offset }) => offset);
      expect(offsets).toEqual(length < one.length ? [] : [7]);
      expect(run?.lastOffset ?? null).toBe(length < one.length ? null : 7);
    }
  });

  test('begins where the fetch began, not where its first batch does', async () => {
    const run = await openRecordRun(
      Buffer.concat(await Promise.all([3, 4, 5].map((n) => written(n)))),
      [],
    );
    run?.skipTo(4);
    expect(readAll(run, 1).map(({ offset }) => offset)).toEqual([4, 5]);
  });

  test('has nothing of an aborted transaction, and all of others', async () => {
    const inside = { attributes: TRANSACTIONAL };
    const data = await Promise.all([
      written(0, { ...inside, producerId: 1 }),
      written(1, { ...inside, producerId: 2 }),
      written(2),
      marker(3, 0, 1),
      written(4, { ...inside, producerId: 1 }),
      marker(5, 1, 2),
      marker(6, 1, 1),
      written(7, { ...inside, producerId: 2 }),
      marker(8, 0, 2),
    ]);
    const aborted = [
      { producerId: 2, firstOffset: 7 },
      { producerId: 1, firstOffset: 0 },
    ];
    const run = await openRecordRun(Buffer.concat(data), aborted);
    expect(readAll(run, 2).map(({ offset }) => offset)).toEqual([1, 2, 4]);
    expect(run?.lastOffset).toBe(8);
  });

  test('of a damaged batch is an error, never another record', async () => {
    await fc.assert(
      fc.asyncProperty(
        batch.map((one) => ({ ...one, codec: 0 })),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (one, place, change) => {
          const data = await encode(one);
          const at = 61 + (place % (data.length - 61));
          data[at] = (data[at] as number) ^ change;
          const expected = await asKafkajs(await encode(one));
          try {
            // Where a value was hit, that is what comes.
            expect(readAll(await openRecordRun(data, []), 5).length).toBe(expected.length);
          } catch (error) {
            expect((error as Error).message).toContain(`offset ${one.firstOffset} can't be read`);
          }
        },
      ),
    );
  });

  test('of before Kafka 0.11 is refused', async () => {
    const data = await written(1);
    data[16] = 1;
    expect(openRecordRun(data, [])).rejects.toThrow('from before Kafka 0.11');
  });
});
