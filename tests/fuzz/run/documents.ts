/** GraphQL requests: each root field with all below it, damaged; and shapes that are dear. */
import fc from 'fast-check';
import { model } from '../../../src/model.ts';
import { createSchema } from '../../../src/schema/index.ts';
import { walk } from '../../schema/schema-walk.ts';
import { awkwardValue } from './payloads.ts';

const RULE = '{ ruleId: "r1", key: "temperature", operator: GT, threshold: 80, message: "hot" }';

/** A literal for each argument; those not named here are left out in half of the documents. */
const ARGUMENTS: Record<string, readonly string[]> = {
  userId: ['"fuzz"', '"victim"', '""', 'null'],
  deviceId: ['"pump"', '"probe"'],
  deviceIds: ['["pump", "probe"]'],
  ruleId: ['"hot"', '"r1"'],
  rule: [RULE],
  rules: [`[${RULE}]`, '[]'],
  reading: ['{ time: "2026-01-01T00:00:00Z", sequence_id: 9, temperature: 1 }', '{}', '"x"'],
  enabled: ['true', 'false'],
  for: ['"1h"', '"PT0S"', '"99999d"'],
  first: ['1', '3', '100', '1000000', '-1'],
  after: ['0', '"0"', '"WzFd"', '-1'],
  from: ['"2026-01-01T00:00:00Z"', '"1970-01-01T00:00:00Z"'],
  to: ['"2026-12-01T00:00:00Z"', '"9999-01-01T00:00:00Z"'],
  keys: ['["temperature"]', '["engine.rpm", "battery", ""]', '[]'],
  bucket: ['"1d"', '"1m"', '"P1M"', '"1ms"'],
  timezone: ['"Europe/Berlin"', '"Nowhere"', '"+05:45"'],
  order: ['ASC'],
  status: ['[FIRING]', 'RESOLVED'],
  search: ['"p"', '"%"', '"\\\\"'],
  temperatureMax: ['80', 'null', '1e308'],
  expectedVersion: ['0', '1'],
};

/** @param alertId of the victim's, for arguments named `id` */
function bases(alertId: string): string[] {
  const documents = [0, 1, 2].flatMap((round) =>
    walk(createSchema(model), (coordinate) => {
      const [type, field, name = ''] = coordinate.split('.');
      if (`${type}.${field}` === 'Query.user') return round === 1 ? '"victim"' : '"fuzz"';
      if (name === 'id') return JSON.stringify(alertId);
      const all = ARGUMENTS[name];
      return all === undefined ? null : (all[round % all.length] as string);
    }).map(({ document }) => document),
  );
  return [...new Set(documents)];
}

const names = Object.values(createSchema(model).getTypeMap()).flatMap((type) => [
  type.name,
  ...('getFields' in type ? Object.keys(type.getFields()) : []),
]);

const TOKEN = /"(?:[^"\\]|\\.)*"|[A-Za-z_]\w*|-?\d[\d.eE+-]*|\.\.\.|[^\s]/g;

const otherToken = fc.oneof(
  fc.constantFrom(...names),
  fc.constantFrom(
    '{',
    '}',
    '(',
    ')',
    '[',
    ']',
    ':',
    '!',
    '$',
    '@',
    '...',
    '|',
    '=',
    '"',
    '"""',
    '&',
  ),
  fc.constantFrom(
    'query',
    'mutation',
    'subscription',
    'fragment',
    'on',
    'null',
    'true',
    '$a',
    '@skip',
  ),
  fc.constantFrom(
    '@include(if: false)',
    '@skip(if: $a)',
    '__typename',
    '__schema { types { name } }',
  ),
  fc.constantFrom(
    '"victim"',
    '"probe"',
    '"hot"',
    '99999999999999999999',
    '1e999',
    '"\\u0000"',
    '\u{1F600}',
  ),
  fc.constantFrom('"\\uD800"', '"""block"""', '#', '\uFEFF', '"\u2028"', '-', '1.5', 'a: me'),
  ...Object.values(ARGUMENTS).map((all) => fc.constantFrom(...all)),
  awkwardValue,
);
const change = fc.record({
  kind: fc.constantFrom('replace', 'replace', 'insert', 'remove', 'swap', 'repeat'),
  at: fc.nat(0xffff),
  token: otherToken,
});

/** A document with some of its tokens changed. */
function changed(document: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .tuple(document, fc.array(change, { minLength: 1, maxLength: 4 }))
    .map(([text, changes]) => {
      const tokens = text.match(TOKEN) ?? [];
      for (const { kind, at, token } of changes) {
        const place = Math.floor((at / 0x10000) * tokens.length);
        const own = tokens[place] ?? '';
        if (kind === 'replace') tokens[place] = token;
        else if (kind === 'insert') tokens.splice(place, 0, token);
        else if (kind === 'remove') tokens.splice(place, 1);
        else if (kind === 'repeat') tokens.splice(place, 0, own, own);
        else tokens.splice(place, 2, tokens[place + 1] ?? '', own);
      }
      return tokens.join(' ');
    });
}

const size = fc.integer({ min: 2, max: 400 });

/** What costs much, or never ends, where nobody counts. */
const dear = fc.oneof(
  size.map((n) => `{ ${Array.from({ length: n }, (_, i) => `a${i}: me { id }`).join(' ')} }`),
  size.map((n) => `{ me { ${'devices { nodes { user { '.repeat(n)} id ${'} } }'.repeat(n)} } }`),
  size.map((n) => `{ ${'{ me '.repeat(n)}`),
  size.map((n) => `{ __typename ${'@skip(if: false) '.repeat(n)} }`),
  size.map((n) => `{ __typename } ${'#'.repeat(n * 100)}`),
  size.map((n) => `query(${'$a: Int '.repeat(n)}) { __typename }`),
  size.map((n) => `{ user(id: "${'x'.repeat(n * 100)}") { id } }`),
  size.map((n) => `mutation { setRules(rules: ${'['.repeat(n)}${']'.repeat(n)}) { version } }`),
  size.map(
    (n) =>
      `{ ...f0 } ${Array.from({ length: n }, (_, i) => `fragment f${i} on Query { ...f${(i + 1) % n} }`).join(' ')}`,
  ),
  size.map(
    (n) =>
      `{ ...f0 } ${Array.from({ length: n }, (_, i) => `fragment f${i} on Query { ...f${i + 1} ...f${i + 1} }`).join(' ')} fragment f${n} on Query { __typename }`,
  ),
  fc.constantFrom(
    '{ me { devices(first: 1000) { nodes { readings(first: 1000) { nodes { time } } } } } }',
    '{ a: me { id } a: alertCounts { count } }',
    'query A { __typename } query B { __typename } query A { __typename }',
    'subscription { alertEvents { seq } readings(deviceId: "pump") { time } }',
    'subscription($a: Boolean!) { ... @include(if: $a) { alertEvents { seq } } }',
    '{ __type(name: "Query") { fields { type { ofType { fields { name } } } } } }',
  ),
);

/** @param alertId of the victim's */
export function documents(alertId: string): fc.Arbitrary<string> {
  const base = fc.constantFrom(...bases(alertId));
  return fc.oneof(
    { arbitrary: base, weight: 2 },
    { arbitrary: changed(base), weight: 6 },
    { arbitrary: dear, weight: 1 },
    { arbitrary: changed(dear.filter((text) => text.length < 2_000)), weight: 1 },
    { arbitrary: fc.string({ unit: 'binary', maxLength: 60 }), weight: 1 },
  );
}

/** `{query, variables, ...}` as JSON text, mostly whole. */
export function requests(alertId: string): fc.Arbitrary<string> {
  const document = documents(alertId);
  const whole = fc
    .tuple(
      document,
      fc.option(fc.tuple(fc.constantFrom('a', 'id', 'rules', 'reading', ''), awkwardValue), {
        freq: 3,
      }),
      fc.option(
        fc.tuple(
          fc.constantFrom('operationName', 'extensions', 'documentId', 'variables', 'query'),
          awkwardValue,
        ),
        { freq: 3 },
      ),
    )
    .map(([query, variable, field]) => {
      const given = variable && `{${JSON.stringify(variable[0])}:${variable[1]}}`;
      const texts = [`"query":${JSON.stringify(query)}`];
      if (given) texts.push(`"variables":${given}`);
      if (field) texts.push(`${JSON.stringify(field[0])}:${field[1]}`);
      return `{${texts.join(',')}}`;
    });
  const withVariables = fc
    .tuple(fc.constantFrom(...WITH_VARIABLES), awkwardValue, awkwardValue)
    .map(([query, a, b]) => `{"query":${JSON.stringify(query)},"variables":{"a":${a},"b":${b}}}`);
  return fc.oneof(
    { arbitrary: whole, weight: 7 },
    { arbitrary: withVariables, weight: 3 },
    { arbitrary: awkwardValue, weight: 1 },
  );
}

const WITH_VARIABLES = [
  'query($a: ID!, $b: Int) { user(id: $a) { devices(first: $b) { nodes { id } } } }',
  'query($a: DateTime!, $b: DateTime!) { me { devices { nodes { telemetry(from: $a, to: $b, keys: ["temperature"]) { points { avg } } } } } }',
  'query($a: [String!]!, $b: Duration) { me { devices { nodes { telemetry(from: "2026-01-01T00:00:00Z", to: "2026-02-01T00:00:00Z", keys: $a, bucket: $b) { points { avg } } } } } }',
  'query($a: TimeZone, $b: Int) { me { devices { nodes { telemetry(from: "2026-01-01T00:00:00Z", to: "2026-02-01T00:00:00Z", keys: ["temperature"], timezone: $a, maxPoints: $b) { points { avg } } } } } }',
  'mutation($a: JSON!, $b: ID) { publishReading(deviceId: "pump", reading: $a, userId: $b) }',
  'mutation($a: [RuleInput!], $b: Int) { setRules(rules: $a, expectedVersion: $b) { version } }',
  'mutation($a: RuleInput!, $b: ID) { upsertRule(rule: $a, userId: $b) { version } }',
  'mutation($a: ID!, $b: Duration!) { snoozeAlert(id: $a, for: $b) { id } }',
  'mutation($a: JSON, $b: Duration) { upsertRule(rule: {ruleId: "r1", key: "battery", operator: EQ, threshold: $a, for: $b, message: "x"}) { version } }',
  'mutation($a: ID!, $b: ID) { resetDeviceClock(deviceId: $a, userId: $b) { id } }',
  'query($a: RuleInput!, $b: DateTime!) { me { ruleSet { backtest(rule: $a, from: $b, to: "2026-12-01T00:00:00Z") { readings } } } }',
  'query($a: String, $b: [AlertStatus!]) { me { alerts(after: $a, status: $b) { nodes { id } } } }',
];
