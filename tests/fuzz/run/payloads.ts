/** JSON texts as devices and people send them, and what they look like when something is wrong. */
import fc from 'fast-check';
import { damaged, rawBytes, utf8 } from './bytes.ts';

const deep = fc.integer({ min: 1, max: 3_000 }).map((n) => '['.repeat(n) + ']'.repeat(n));
const long = fc.integer({ min: 1, max: 3_000 }).map((n) => `"${'ä'.repeat(n)}"`);

/** One JSON value, or nearly one, as text. */
const awkwardValue: fc.Arbitrary<string> = fc.oneof(
  { arbitrary: fc.json({ maxDepth: 2 }), weight: 3 },
  { arbitrary: fc.double().map(String), weight: 2 },
  {
    arbitrary: fc.string({ unit: 'binary', maxLength: 20 }).map((s) => JSON.stringify(s)),
    weight: 2,
  },
  {
    arbitrary: fc.constantFrom(
      ...['null', 'true', '""', '0', '-0', '-1', '1e400', '-1e400', '1e-400', '9007199254740993'],
      ...['0.1000000000000000055511', '18446744073709551616', '1E+2', '"\\u0000"', '"\\ud800"'],
      ...['"\\udfff\\ud800"', '{"__proto__":{"a":1}}', '{"constructor":{"prototype":{}}}'],
      ...['"2026-13-45T99:99:99Z"', '"1999-12-31T23:59:59Z"', '"9999-12-31T23:59:59.999999999Z"'],
      ...['"+275760-09-13T00:00:00Z"', 'NaN', 'Infinity', '01', '"{value}{threshold}{key}"'],
      ...['"P1Y2M3DT4H5M6S"', '"PT0S"', '"99999999999999d"', '"-5m"', '[[[[]]]]', '{"":""}'],
    ),
    weight: 4,
  },
  { arbitrary: deep, weight: 1 },
  { arbitrary: long, weight: 1 },
);

const either = (good: readonly string[]) =>
  fc.oneof(
    { arbitrary: fc.constantFrom(...good), weight: 4 },
    { arbitrary: awkwardValue, weight: 1 },
  );

const otherField = fc.tuple(
  fc.oneof(
    fc.constantFrom('__proto__', 'constructor', 'toString', '', 'a.b', 'rules', 'time', 'version'),
    fc.string({ unit: 'binary', maxLength: 12 }),
  ),
  awkwardValue,
);

/** An object of such fields, each at times left out, and others added or doubled. */
function objectOf(fields: Record<string, fc.Arbitrary<string>>): fc.Arbitrary<string> {
  const named = Object.entries(fields).map(([name, value]) =>
    fc.option(value, { freq: 12, nil: null }).map((text) => [name, text] as const),
  );
  return fc
    .tuple(
      fc.tuple(...named),
      fc.oneof(
        { arbitrary: fc.constant([]), weight: 3 },
        { arbitrary: fc.array(otherField, { maxLength: 4 }), weight: 1 },
      ),
    )
    .map(([known, more]) => {
      const all = [...known.filter(([, text]) => text !== null), ...more];
      return `{${all.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(',')}}`;
    });
}

const times = Array.from(
  { length: 20 },
  (_, i) => `"2026-0${1 + (i % 9)}-1${i % 10}T12:00:0${i % 10}.5Z"`,
);

const reading = objectOf({
  time: either([...times, '1767225600', '1767225600123', '1767225600.5']),
  sequence_id: either(['0', '1', '7', '42', '1000000', '9007199254740991']),
  device_id: either(['"pump"', '"fan"']),
  temperature: either(['20', '21.5', '-40', '150.25', 'null']),
  battery: either(['0', '50', '100', 'null']),
  engine: either(['{"rpm":3000}', '{"rpm":{"max":1}}']),
});

const rule = objectOf({
  id: either(['"hot"', '"r1"', '"temperature-gt"', '"temperature-max"']),
  key: either(['"temperature"', '"battery"', '"engine.rpm"', '"time"', '"note"']),
  operator: either(['">"', '"<"', '">="', '"<="', '"=="', '"!="']),
  threshold: either(['80', '-3.5', '0', '"text"', 'true']),
  message: either(['"hot"', '"{value} over {threshold}"']),
  severity: either(['"INFO"', '"CRITICAL"']),
  for: either(['"PT5M"', '"90s"', '"31d"']),
  clear: either(['{"threshold":70}', '{"for":"PT1M"}', '{"threshold":70,"for":"1m"}']),
  devices: either(['"*"', '"pump_?"', '"a*b*c*d*e*"']),
  enabled: either(['true', 'false']),
});
const silence = objectOf({
  noData: either(['"PT10M"', '"15s"', '"366d"']),
  message: either(['"gone"']),
  devices: either(['"pump*"']),
});
const rules = fc.array(
  fc.oneof({ arbitrary: rule, weight: 4 }, { arbitrary: silence, weight: 1 }),
  {
    maxLength: 4,
  },
);

const config = objectOf({
  temperature_max: either(['80', '-1.5', 'null']),
  rules: fc.oneof(
    { arbitrary: rules.map((all) => `[${all.join(',')}]`), weight: 8 },
    { arbitrary: awkwardValue, weight: 1 },
  ),
  disabled: either(['{}', '{"hot":["pump"]}', '{"temperature-max":null}']),
  version: either(['0', '1', '5']),
  etag: either(['"abc"']),
});

const manage = objectOf({
  device_id: either(['"pump"', '"probe"']),
  rule_id: either(['"hot"', '"temperature-max"', '"nothing"']),
  action: either(['"ACKNOWLEDGE"', '"SNOOZE"', '"UNSNOOZE"', '"DISABLE"', '"ENABLE"']),
  duration_minutes: either(['5', '0.001', '525600', '-1']),
});

/** As it is mostly; damaged, another value, or anything at all at times. */
function sent(text: fc.Arbitrary<string>): fc.Arbitrary<Uint8Array> {
  const bytes = text.map(utf8);
  return fc.oneof(
    { arbitrary: bytes, weight: 5 },
    { arbitrary: damaged(bytes), weight: 4 },
    { arbitrary: awkwardValue.map(utf8), weight: 1 },
    { arbitrary: rawBytes, weight: 1 },
  );
}

export const readingBytes = sent(reading);
export const configBytes = sent(config);
export const manageBytes = sent(manage);
export { awkwardValue };

const topic = fc.oneof(
  fc.constantFrom('users/fuzz/devices/pump/telemetry', 'users/fuzz/devices/fan/telemetry'),
  fc.constantFrom('users//devices/x/telemetry', 'users/+/devices/#/telemetry', '', '/', '$SYS/a'),
  fc
    .tuple(fc.string({ unit: 'binary', maxLength: 12 }), fc.string({ maxLength: 300 }))
    .map(([user, device]) => `users/${user}/devices/${device}/telemetry`),
);

/** As Vector writes it, the payload inside as an object or as text. */
const envelope = fc
  .tuple(topic, reading, fc.boolean(), fc.option(awkwardValue, { freq: 5, nil: null }))
  .map(([name, payload, isText, more]) => {
    const inner = isText ? JSON.stringify(payload) : payload;
    const extra = more === null ? '' : `,"payload":${more}`;
    return `{"topic":${JSON.stringify(name)},"payload":${inner}${extra}}`;
  });

export const topicName = topic;
export const envelopeBytes = sent(envelope);
