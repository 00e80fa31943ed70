import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { numberOf, parseJson } from '../../src/domain/json.ts';
import type { LogRecord } from '../../src/domain/log.ts';
import { defineModel } from '../../src/domain/model.ts';
import type { RejectReason } from '../../src/domain/reading.ts';
import { createDecoder, type Decode } from '../../src/engine/decode.ts';
import { model } from '../../src/model.ts';

const MAX_PAYLOAD_BYTES = 1_000_000;
const ARRIVAL_MS = Date.UTC(2024, 4, 1);
const TOPIC = 'users/user_1/devices/device_1/telemetry';
const TIME = '2024-04-30T12:00:00.123456Z';
const MICROS = Date.UTC(2024, 3, 30, 12) * 1_000 + 123_456;

const decode = createDecoder(model, { maxPayloadBytes: MAX_PAYLOAD_BYTES });

function record(value: string | Uint8Array, topic: string | null = TOPIC): LogRecord {
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
  return { offset: 0, arrivalMs: ARRIVAL_MS, key: null, topic, value: bytes };
}

/** A valid payload with these fields, as JSON text, changed or added. */
function payload(fields: Record<string, string | undefined> = {}): string {
  const all = { time: `"${TIME}"`, sequence_id: '7', ...fields };
  const written = Object.entries(all).filter(([, text]) => text !== undefined);
  return `{${written.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(',')}}`;
}

function accepted(value: string | Uint8Array, topic: string | null = TOPIC) {
  const decoded = decode(record(value, topic));
  if (!decoded.ok) throw new Error(`refused: ${JSON.stringify(decoded.rejection)}`);
  return decoded;
}

function refused(value: string | Uint8Array, topic: string | null = TOPIC, by: Decode = decode) {
  const decoded = by(record(value, topic));
  if (decoded.ok) throw new Error(`accepted: ${JSON.stringify(decoded.reading)}`);
  const { detail } = decoded.rejection;
  expect(detail.isWellFormed()).toBe(true);
  expect(detail).not.toContain('\0');
  return decoded.rejection.reason;
}

describe('a valid payload', () => {
  test('becomes a reading: declared columns apart from all other fields', () => {
    const { reading, extraText, topic } = accepted(
      payload({ temperature: '21.5', battery: '88', device_id: '"device_1"', rpm: '3' }),
    );
    expect(reading).toEqual({
      time: MICROS,
      userId: 'user_1',
      deviceId: 'device_1',
      sequenceId: 7,
      columns: { temperature: 21.5, battery: 88 },
      extra: Object.assign(Object.create(null), { rpm: 3 }),
    });
    expect([extraText, topic]).toEqual(['{"rpm":3}', TOPIC]);
  });

  test('may leave nullable columns out, or give them as null', () => {
    for (const fields of [{}, { temperature: 'null', battery: 'null' }]) {
      const { reading, extraText } = accepted(payload(fields));
      expect(reading.columns).toEqual({ temperature: null, battery: null });
      expect([reading.extra, extraText]).toEqual([null, null]);
    }
  });

  test('comes raw with its topic, or in an envelope as an object or as text', () => {
    const raw = payload({ rpm: '12345678901234567890', note: '"\\u00e4 \\" \\\\"' });
    const expected = accepted(raw);
    const topic = JSON.stringify(TOPIC);
    expect(accepted(`{"topic":${topic},"payload":${raw}}`, null)).toEqual(expected);
    expect(accepted(`{"topic":${topic},"payload":${JSON.stringify(raw)}}`, null)).toEqual(expected);
    // With a topic beside it, what looks like an envelope is a payload without a time.
    expect(refused(`{"topic":${topic},"payload":${raw}}`)).toBe('MISSING_FIELD');
  });
});

describe('refused', () => {
  const text = (reason: RejectReason, ...values: string[]) =>
    values.map((value): [string, RejectReason] => [value, reason]);

  test.each([
    ...text('BAD_JSON', '', ' ', '{', 'null', '1', '"text"', '[]', 'true', '{"a":1,}', "{'a':1}"),
    ...text('BAD_JSON', `\ufeff${payload()}`, `${payload()}x`, payload({ x: 'NaN' }), '1e999'),
    ...text('BAD_JSON', payload({ x: '"\0"' }), payload({ x: '"\n"' }), '12345678901234567890'),
    ...text('MISSING_FIELD', '{}', payload({ time: undefined }), payload({ time: 'null' })),
    ...text('MISSING_FIELD', payload({ sequence_id: undefined }), payload({ sequence_id: 'null' })),
    ...text('WRONG_TYPE', payload({ time: '"yesterday"' }), payload({ time: '{}' })),
    ...text('WRONG_TYPE', payload({ time: '"2024-02-30T00:00:00Z"' }), payload({ time: 'true' })),
    ...text('WRONG_TYPE', payload({ sequence_id: '"7"' }), payload({ sequence_id: '7.5' })),
    ...text('WRONG_TYPE', payload({ sequence_id: '9007199254740990.7' })),
    ...text(
      'WRONG_TYPE',
      payload({ sequence_id: '1e-400' }),
      payload({ battery: '7.00000000000000001' }),
    ),
    ...text('WRONG_TYPE', payload({ sequence_id: '[7]' }), payload({ sequence_id: 'false' })),
    ...text('WRONG_TYPE', payload({ temperature: '"21"' }), payload({ temperature: '{}' })),
    ...text('WRONG_TYPE', payload({ temperature: 'true' }), payload({ battery: '50.5' })),
    ...text('OUT_OF_RANGE', payload({ sequence_id: '-1' }), payload({ sequence_id: '1e999' })),
    ...text('OUT_OF_RANGE', payload({ sequence_id: '9007199254740992' })),
    ...text('OUT_OF_RANGE', payload({ sequence_id: '9007199254740993' })),
    ...text('OUT_OF_RANGE', payload({ sequence_id: '-9007199254740993' })),
    ...text('OUT_OF_RANGE', payload({ battery: '101' }), payload({ battery: '-1' })),
    ...text('OUT_OF_RANGE', payload({ temperature: '10000.1' }), payload({ temperature: '1e999' })),
    ...text('DEVICE_MISMATCH', payload({ device_id: '"other"' }), payload({ device_id: '1' })),
    ...text('DEVICE_MISMATCH', payload({ device_id: 'null' }), payload({ user_id: '"other"' })),
    ...text('TIME_OUT_OF_RANGE', payload({ time: '"1999-12-31T23:59:59.999999Z"' })),
    ...text('TIME_OUT_OF_RANGE', payload({ time: '"2024-05-02T00:00:00.000001Z"' })),
    ...text('TIME_OUT_OF_RANGE', payload({ time: '0' }), payload({ time: '-0' })),
    ...text('TIME_OUT_OF_RANGE', payload({ time: '1e999' }), payload({ time: '-1e999' })),
    ...text('TIME_OUT_OF_RANGE', payload({ time: '"9999-12-31T23:59:59Z"' })),
    ...text('UNSTORABLE_TEXT', payload({ x: '"a\\u0000b"' }), payload({ 'a\0': '1' })),
    ...text('UNSTORABLE_TEXT', payload({ x: '{"y":[1,{"z":"\\u0000"}]}' })),
    ...text('UNSTORABLE_TEXT', payload({ x: '[[{"\\u0000":1}]]' })),
    ...text('UNSTORABLE_TEXT', payload({ x: '"\\ud800"' }), payload({ x: '"\\udc00\\ud800"' })),
    ...text('UNSTORABLE_TEXT', payload({ x: '{"\\ud83d":1}' })),
  ])('%j: %s', (value, reason) => {
    expect(refused(value)).toBe(reason);
  });

  test.each([
    '',
    'telemetry',
    'users/user_1/devices/device_1',
    'users/user_1/devices/device_1/telemetry/more',
    'users//devices/device_1/telemetry',
    'users/user_1/devices//telemetry',
    'users/+/devices/device_1/telemetry',
    'users/user_1/devices/#/telemetry',
    'users/a\0b/devices/device_1/telemetry',
    'users/a\ud800b/devices/device_1/telemetry',
    'users/user_1/devices/\udc00/telemetry',
    'Users/user_1/devices/device_1/telemetry',
    `users/${'u'.repeat(257)}/devices/device_1/telemetry`,
    `users/user_1/devices/${'ä'.repeat(129)}/telemetry`,
    `users/user_1/devices/${'😀'.repeat(65)}/telemetry`,
  ])('the topic %j', (topic) => {
    expect(refused(payload(), topic)).toBe('BAD_TOPIC');
    const envelope = JSON.stringify({ topic, payload: JSON.parse(payload()) });
    expect(refused(envelope, null)).toBe('BAD_TOPIC');
  });

  test('an envelope that is none', () => {
    const all = ['{}', '{"topic":1,"payload":{}}', '{"topic":"t"}', '[]', '1', payload()];
    for (const value of all) expect(refused(value, null)).toBe('BAD_TOPIC');
    const topic = JSON.stringify(TOPIC);
    // The last two: text that no parser may quote as it is.
    for (const inner of ['null', '1', '[]', '"x"', '""', '"null"', '"\\u0000"', '"\\ud800"']) {
      expect(refused(`{"topic":${topic},"payload":${inner}}`, null)).toBe('BAD_JSON');
    }
  });

  test('what is not UTF-8', () => {
    const broken = [
      [0xff],
      [0xc3],
      [0xc0, 0x80],
      // A surrogate half, and a code point past the last one.
      [0xed, 0xa0, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
    ];
    for (const bytes of broken) {
      const value = Buffer.concat([Buffer.from('{"x":"'), Buffer.from(bytes), Buffer.from('"}')]);
      expect(refused(value)).toBe('BAD_ENCODING');
    }
  });

  test('one byte over the limit, and not one at it', () => {
    const size = MAX_PAYLOAD_BYTES - payload({ x: '""' }).length;
    expect(refused(payload({ x: `"${'x'.repeat(size + 1)}"` }))).toBe('TOO_LARGE');
    expect(accepted(payload({ x: `"${'x'.repeat(size)}"` })).reading.extra?.x).toHaveLength(size);
  });

  test('what is nested too deep, in any field and any notation', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const objects = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
    for (const value of [deep, objects, deep.replace('[]', '[1e5]')]) {
      expect(refused(payload({ x: value }))).toBe('BAD_JSON');
      expect(refused(payload({ x: value, y: '"\\u0041"' }))).toBe('BAD_JSON');
      expect(refused(payload({ sequence_id: value }))).toBe('BAD_JSON');
      expect(refused(payload({ time: value }))).toBe('BAD_JSON');
      expect(refused(value)).toBe('BAD_JSON');
      const topic = JSON.stringify(TOPIC);
      expect(refused(`{"topic":${topic},"payload":{"x":${value}}}`, null)).toBe('BAD_JSON');
    }
    const brackets = '\\"[{'.repeat(10_000);
    expect(accepted(payload({ x: `"${brackets}"`, y: '[1]' })).reading.extra?.y).toEqual([1]);
    const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
    expect(accepted(payload({ x: nested(499) })).extraText).toBe(`{"x":${nested(499)}}`);
    expect(refused(payload({ x: nested(500) }))).toBe('BAD_JSON');
  });

  test('escapes are seen through an envelope too, however they are written', () => {
    const topic = JSON.stringify(TOPIC);
    // Half a surrogate pair, and NUL, as the escape of an escape and as an escape of the envelope.
    const inner = (text: string) =>
      `{\\"time\\":\\"${TIME}\\",\\"sequence_id\\":1,\\"x\\":\\"${text}\\"}`;
    const envelope = (text: string) => `{"topic":${topic},"payload":"${inner(text)}"}`;
    expect(refused(envelope('\\\\u0000'), null)).toBe('UNSTORABLE_TEXT');
    expect(refused(envelope('\\\\ud800'), null)).toBe('UNSTORABLE_TEXT');
    expect(refused(envelope('\\ud800'), null)).toBe('UNSTORABLE_TEXT');
    expect(refused(envelope('\\u005cu0000'), null)).toBe('UNSTORABLE_TEXT');
    // A raw NUL in JSON text is no JSON.
    expect(refused(envelope('\\u0000'), null)).toBe('BAD_JSON');
    expect(accepted(envelope('\\ud83d\\ude00'), null).extraText).toBe('{"x":"😀"}');
  });
});

describe('stored right', () => {
  test.each([
    ['12345678901234567890'],
    ['-9007199254740993'],
    ['0.1000000000000000055511151231257827'],
    ['1234567890.12345678'],
    ['1e999'],
    ['{"__proto__":{"x":1},"constructor":{"prototype":null}}'],
    ['"\\"\\\\\\t\\r\\n"'],
    ['[[],{},null,true,"😀"]'],
  ])('the undeclared field %s', (value) => {
    const { reading, extraText } = accepted(payload({ x: value }));
    expect(extraText).toBe(`{"x":${value}}`);
    expect(numberOf(reading.extra?.x)).toBe(numberOf(parseJson(value)));
  });

  test('fields named as things of JavaScript are fields like any other', () => {
    const names = ['__proto__', 'constructor', 'toString', 'toJSON', 'hasOwnProperty', 'valueOf'];
    const fields = Object.fromEntries(names.slice(1).map((name) => [name, '{"polluted":1}']));
    const text = payload(fields).replace('{', '{"__proto__":{"polluted":1},');
    const { reading, extraText } = accepted(text);
    expect(Object.keys(reading.extra ?? {})).toEqual(names);
    expect(extraText).toBe(`{${names.map((name) => `"${name}":{"polluted":1}`).join(',')}}`);
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
    expect((reading.columns as { polluted?: unknown }).polluted).toBeUndefined();
  });

  test.each([
    ['"2024-04-30T12:00:00Z"', 0],
    ['"2024-04-30t12:00:00.000001z"', 1],
    ['"2024-04-30T14:30:00.5+02:30"', 500_000],
    ['"2024-04-29T23:59:60-12:00"', 0],
    ['1714478400', 0],
    ['1714478400.5', 500_000],
    ['1714478400.123456', 123_456],
    ['1714478400000', 0],
    ['1714478400000.25', 250],
    ['1714478400123', 123_000],
    ['1.7144784e9', 0],
    ['1714478400.00000000000000000001', 0],
  ])('the time %s', (time, fraction) => {
    const noon = Date.UTC(2024, 3, 30, 12) * 1_000;
    expect(accepted(payload({ time })).reading.time).toBe(noon + fraction);
  });

  test('the first and the last time there is', () => {
    const time = (text: string) => accepted(payload({ time: `"${text}"` })).reading.time;
    expect(time('2000-01-01T00:00:00Z')).toBe(Date.UTC(2000, 0, 1) * 1_000);
    expect(time('2024-05-02T00:00:00Z')).toBe(Date.UTC(2024, 4, 2) * 1_000);
  });

  test('numbers at the edge of their column', () => {
    for (const [text, number] of [
      ['9007199254740991', 2 ** 53 - 1],
      ['0', 0],
      ['-0', 0],
      ['7.0', 7],
      ['1e3', 1_000],
    ] as const) {
      expect(Object.is(accepted(payload({ sequence_id: text })).reading.sequenceId, number)).toBe(
        true,
      );
    }
    const { columns } = accepted(payload({ temperature: '-0', battery: '1e2' })).reading;
    expect(Object.is(columns.temperature, 0)).toBe(true);
    expect(columns.battery).toBe(100);
  });

  test('names with everything that MQTT lets through', () => {
    const names = ['a b', 'ä', '😀', '"\\', '%', "'; DROP TABLE x;--", '\t', '__proto__', '.'];
    for (const name of names) {
      const topic = `users/${name}/devices/${name}/telemetry`;
      const { reading } = accepted(payload(), topic);
      expect([reading.userId, reading.deviceId]).toEqual([name, name]);
      accepted(payload({ device_id: JSON.stringify(name) }), topic);
    }
  });
});

test('columns of every type, and ones that must be there', () => {
  const package_ = defineModel({
    table: 'packages',
    topic: 'shops/{user_id}/{device_id}',
    columns: {
      status: { type: 'text', nullable: false, maxLength: 3 },
      fragile: { type: 'boolean', nullable: true },
    },
    extraColumn: 'rest',
    shorthands: {},
  });
  const by = createDecoder(package_, { maxPayloadBytes: 10_000 });
  const reason = (fields: Record<string, string>) => refused(payload(fields), 'shops/a/b', by);
  expect(reason({})).toBe('MISSING_FIELD');
  expect(reason({ status: '1' })).toBe('WRONG_TYPE');
  expect(reason({ status: '"long"' })).toBe('OUT_OF_RANGE');
  expect(reason({ status: '"ok"', fragile: '0' })).toBe('WRONG_TYPE');
  const decoded = by(record(payload({ status: '"ok"', fragile: 'false' }), 'shops/a/b'));
  expect(decoded.ok && decoded.reading.columns).toEqual({ status: 'ok', fragile: false });
});

describe('whatever comes', () => {
  const almost = fc
    .dictionary(
      fc.constantFrom('time', 'sequence_id', 'temperature', 'battery', 'device_id', 'x'),
      fc.oneof(fc.json(), fc.constantFrom(`"${TIME}"`, '1', '1e999', '"\\ud800"', '-0', '1.5')),
    )
    .map((fields) => payload(fields));
  const enveloped = fc
    .tuple(fc.oneof(fc.constant(TOPIC), fc.string({ unit: 'binary' })), almost, fc.boolean())
    .map(([topic, inner, asText]) =>
      asText
        ? JSON.stringify({ topic, payload: inner })
        : `{"topic":${JSON.stringify(topic)},"payload":${inner}}`,
    );
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .oneof(almost, enveloped, fc.json(), fc.string({ unit: 'binary' }))
      .map((t) => Buffer.from(t)),
  );
  const topics = fc.oneof(fc.constant(TOPIC), fc.constant(null), fc.string({ unit: 'binary' }));

  test('is a reading that can be stored or a reason, never an exception', () => {
    fc.assert(
      fc.property(bytes, topics, (value, topic) => {
        const decoded = decode(record(value, topic));
        if (!decoded.ok) {
          expect(decoded.rejection.detail.length).toBeLessThan(2_000);
          return;
        }
        const { reading, extraText } = decoded;
        expect(Number.isSafeInteger(reading.time) && Number.isSafeInteger(reading.sequenceId)).toBe(
          true,
        );
        expect(reading.userId.isWellFormed() && reading.deviceId.isWellFormed()).toBe(true);
        for (const column of Object.values(reading.columns)) {
          expect(column === null || Number.isFinite(column)).toBe(true);
        }
        // JSON.stringify escapes exactly what is not well-formed, and control characters.
        expect(/\\u(0000|d[89a-f])/i.test((extraText ?? '').replaceAll('\\\\', ''))).toBe(false);
      }),
      { numRuns: 3_000 },
    );
  });

  test('gives undeclared fields back as they came', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 3 }), (value) => {
        if (/\\u(0000|d[89a-f])/i.test(value)) return;
        const { extraText } = accepted(payload({ x: value }));
        expect(extraText).toBe(JSON.stringify({ x: parseJson(value) }));
      }),
      { numRuns: 1_000 },
    );
  });
});
