import assert from 'node:assert/strict';
import fc from 'fast-check';
import { NO_MEMORY } from '../../../../src/domain/alert.ts';
import { HEARTBEAT_TOPIC, REFUSED_TOPIC } from '../../../../src/domain/log.ts';
import { evaluate } from '../../../../src/domain/reducer.ts';
import { compileTopic } from '../../../../src/domain/topic.ts';
import { createDecoder } from '../../../../src/engine/decode.ts';
import { model } from '../../../../src/model.ts';
import { temporaryLogs } from '../../../engine/sources/temporary-log.ts';
import { rawBytes } from '../bytes.ts';
import type { Fuzz } from '../fuzz.ts';
import { envelopeBytes, readingBytes, topicName } from '../payloads.ts';
import { ruleSetOf } from './config.ts';

const MAX_PAYLOAD_BYTES = 65_536;
const MAX_DETAIL = 20_000;
const pattern = compileTopic(model);
const decode = createDecoder(model, { maxPayloadBytes: MAX_PAYLOAD_BYTES });

const header = fc.oneof(
  { arbitrary: topicName, weight: 8 },
  { arbitrary: fc.constantFrom(HEARTBEAT_TOPIC, REFUSED_TOPIC), weight: 1 },
);
const record = fc.oneof(
  { arbitrary: fc.record({ topic: header, value: readingBytes }), weight: 2 },
  { arbitrary: fc.record({ topic: fc.constant(null), value: envelopeBytes }), weight: 1 },
);
const someRules = ruleSetOf([
  { key: 'temperature', operator: '>', threshold: 80, message: '{value} {threshold}' },
  { key: 'engine.rpm', operator: '!=', threshold: 'text', message: 'x', clear: { for: '1m' } },
  { key: '__proto__.a', operator: '<=', threshold: 1, message: 'x', for: '5m' },
]);
const isStorable = (text: string) => text.isWellFormed() && !text.includes('\0');

/** A record is a reading of the user and device of its topic, or a reason; and is evaluated. */
export function fuzzDecoder(): Fuzz {
  const arrivalMs = Date.now();
  return {
    name: 'decoder and rules',
    door: 'log',
    isSocket: false,
    share: 500,
    runsInBatch: 5_000,
    property: (count) =>
      fc.property(record, ({ topic, value }) => {
        count(1);
        const decoded = decode({ offset: 1, arrivalMs, key: null, topic, value });
        if (!decoded.ok) {
          const { reason, detail } = decoded.rejection;
          assert.ok(reason.length > 0 && isStorable(detail) && detail.length < MAX_DETAIL, detail);
          return true;
        }
        const { reading, extraText } = decoded;
        const names = pattern.match(decoded.topic);
        assert.deepEqual(names, { userId: reading.userId, deviceId: reading.deviceId });
        if (topic !== null) assert.equal(decoded.topic, topic);
        assert.ok(Number.isSafeInteger(reading.time) && Number.isSafeInteger(reading.sequenceId));
        assert.ok(isStorable(reading.deviceId + reading.userId), 'a name that is not storable');
        if (extraText !== null) {
          assert.ok(extraText.isWellFormed() && !/(?<!\\)(?:\\\\)*\\u0000/.test(extraText));
          JSON.parse(extraText);
        }
        const evidence = { partition: 0, offset: 1, arrival: arrivalMs * 1_000 };
        const { transitions } = evaluate(NO_MEMORY, reading, someRules, evidence);
        assert.ok(transitions.every(({ userId }) => userId === reading.userId));
        return true;
      }),
  };
}

const message = fc.record({
  topic: header,
  key: fc.option(fc.string({ unit: 'binary', maxLength: 40 })),
  value: fc.oneof(readingBytes, rawBytes),
  traceparent: fc.option(fc.string({ unit: 'binary', maxLength: 60 }), { nil: undefined }),
});

/** What is appended to the embedded log is read back to the byte, from one partition. */
export async function fuzzEmbeddedLog(): Promise<Fuzz & { close(): Promise<void> }> {
  const logs = await temporaryLogs();
  const log = await logs.open({ partitions: 2 });
  return {
    name: 'embedded log',
    door: 'log',
    isSocket: false,
    share: 30,
    runsInBatch: 100,
    property: (count) =>
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 40 }), async (messages) => {
        count(messages.length);
        const before = [0, 1].map((partition) => log.bounds(partition).end);
        await Promise.all(messages.map((each) => log.append({ ...each, partition: 0 })));
        const read: unknown[] = [];
        for (let from = before[0] as number; from < log.bounds(0).end; ) {
          const records = log.read(0, from, 1_000);
          assert.ok(records.length > 0, 'nothing to read below the end');
          for (const { topic, key, value } of records) read.push({ topic, key, value: [...value] });
          from = (records.at(-1)?.offset ?? from) + 1;
        }
        const sent = messages.map(({ topic, key, value }) => ({
          // Empty stands for none.
          topic: topic || null,
          key: key?.toWellFormed() ?? null,
          value: [...value],
        }));
        assert.deepEqual(read, sent);
        assert.equal(log.bounds(1).end, before[1]);
        return true;
      }),
    close: () => logs.remove(),
  };
}
