import { expect, test } from 'bun:test';
import fc from 'fast-check';
// @ts-expect-error: not in its types
import Encoder from 'kafkajs/src/protocol/encoder.js';
// @ts-expect-error: not in its types
import encodeRecord from 'kafkajs/src/protocol/recordBatch/record/v0/index.js';
// @ts-expect-error: not in its types
import { RecordBatch } from 'kafkajs/src/protocol/recordBatch/v0/index.js';
// @ts-expect-error: not in its types
import fetchRequests from 'kafkajs/src/protocol/requests/fetch/index.js';
import { decodeFetch } from '../../../src/engine/sources/kafka-fetch.ts';

const partition = fc.record({
  partition: fc.nat(100),
  errorCode: fc.constantFrom(0, 0, 0, 1, 6),
  highWatermark: fc.maxSafeNat(),
  aborted: fc.array(fc.record({ producerId: fc.nat(), firstOffset: fc.nat() }), { maxLength: 2 }),
  preferredReadReplica: fc.constantFrom(-1, -1, 2),
  values: fc.array(fc.string(), { maxLength: 4 }),
});
const answer = fc.record({
  version: fc.integer({ min: 4, max: 11 }),
  throttleTime: fc.nat(10_000),
  topics: fc.array(
    fc.record({ name: fc.string({ maxLength: 20 }), partitions: fc.array(partition) }),
    { maxLength: 3 },
  ),
});
type Answer = typeof answer extends fc.Arbitrary<infer T> ? T : never;

/** What kafkajs makes of it. */
interface KafkajsTopic {
  topicName: string;
  partitions: {
    partition: number;
    errorCode: number;
    highWatermark: string;
    preferredReadReplica?: number;
    messages: { offset: string }[];
  }[];
}

/** From the protocol's documentation, field by field. */
async function encode({ version, throttleTime, topics }: Answer): Promise<Buffer> {
  const out = new Encoder().writeInt32(throttleTime);
  if (version >= 7) out.writeInt16(0).writeInt32(77);
  out.writeInt32(topics.length);
  for (const { name, partitions } of topics) {
    out.writeString(name).writeInt32(partitions.length);
    for (const one of partitions) {
      out.writeInt32(one.partition).writeInt16(one.errorCode);
      out.writeInt64(one.highWatermark).writeInt64(one.highWatermark);
      if (version >= 5) out.writeInt64(0);
      out.writeInt32(one.aborted.length);
      for (const { producerId, firstOffset } of one.aborted) {
        out.writeInt64(producerId).writeInt64(firstOffset);
      }
      if (version >= 11) out.writeInt32(one.preferredReadReplica);
      const records = await recordsOf(one.values);
      out.writeInt32(records.length).writeBuffer(records);
    }
  }
  return out.buffer;
}

async function recordsOf(values: readonly string[]): Promise<Buffer> {
  if (values.length === 0) return Buffer.alloc(0);
  const records = values.map((value, offsetDelta) =>
    encodeRecord({ offsetDelta, key: null, value: Buffer.from(value) }),
  );
  const batch = await RecordBatch({ firstOffset: 10, lastOffsetDelta: values.length - 1, records });
  return batch.buffer;
}

test('an answer of any version says what kafkajs reads of it, but of partitions of which nothing came', async () => {
  await fc.assert(
    fc.asyncProperty(answer, async (made) => {
      const { version } = made;
      const payload = await encode(made);
      const { response } = fetchRequests.protocol({ version })({ topics: [] });
      const { responses: theirs, ...head } = await response.decode(payload);
      const { responses: ours, ...ourHead } = await decodeFetch(payload, version);
      expect(ourHead).toMatchObject(head);
      const expected = (theirs as KafkajsTopic[]).map(({ topicName, partitions }) => ({
        topicName,
        partitions: partitions.flatMap((one) => {
          const { partition, errorCode, highWatermark, messages } = one;
          const preferredReadReplica = one.preferredReadReplica ?? -1;
          if (messages.length + errorCode === 0 && preferredReadReplica === -1) return [];
          const offset = messages.at(-1)?.offset ?? null;
          const count = messages.length;
          return [{ partition, errorCode, highWatermark, preferredReadReplica, offset, count }];
        }),
      }));
      const found = ours.map(({ topicName, partitions }) => ({
        topicName,
        partitions: partitions.map(({ messages: [message], ...one }) => ({
          ...one,
          offset: message?.offset ?? null,
          count: message?.run.records ?? 0,
        })),
      }));
      expect(found).toEqual(expected);
    }),
  );
});

test('records that can not be read are told to who reads their partition, and stop no other', async () => {
  const one = { errorCode: 0, highWatermark: 12, aborted: [], preferredReadReplica: -1 } as const;
  const values = ['a', 'b'];
  const partitions = [0, 1].map((partition) => ({ ...one, aborted: [], partition, values }));
  const topics = [{ name: 't', partitions }];
  const payload = await encode({ version: 11, throttleTime: 0, topics });
  // The format of the first batch.
  const at = payload.indexOf(await recordsOf(values));
  payload[at + 16] = 1;
  const { responses } = await decodeFetch(payload, 11);
  const [broken, whole] = responses[0]?.partitions.map(({ messages }) => messages[0]) ?? [];
  expect(() => broken?.run.read([], 1)).toThrow('from before Kafka 0.11');
  expect([broken?.offset, whole?.run.records]).toEqual(['11', 2]);
});

test('an answer from before record batches is refused', () => {
  expect(decodeFetch(Buffer.alloc(8), 3)).rejects.toThrow('Kafka 0.11 is the oldest');
});
