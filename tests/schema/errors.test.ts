import { afterAll, beforeAll, expect, test } from 'bun:test';
import { connect } from '../../src/store/connection.ts';
import { type Stage, seedDevices, stage } from './support.ts';

let on: Stage;

beforeAll(async () => {
  on = await stage();
  await seedDevices(on.sql, [{ deviceId: 'dev_1' }]);
}, 30_000);

afterAll(() => on.close());

const RANGE = 'from: "2026-01-01T00:00:00Z", to: "2026-01-02T00:00:00Z"';
const ofUser = (field: string) => `{ user(id: "user_1") { ${field} } }`;

const refused: [name: string, code: string, query: string, says: RegExp][] = [
  ['no syntax', 'BAD_USER_INPUT', '{ user(', /Syntax Error/],
  ['no field', 'BAD_USER_INPUT', '{ nothing }', /nothing/],
  ['no page', 'BAD_USER_INPUT', '{ users(first: 0) { nodes { id } } }', /first: .*1 to 1000/],
  ['a large page', 'BAD_USER_INPUT', '{ users(first: 1001) { nodes { id } } }', /first/],
  ['no cursor', 'BAD_USER_INPUT', '{ users(after: "zzz") { nodes { id } } }', /after: .*endCursor/],
  [
    'a foreign cursor',
    'BAD_USER_INPUT',
    `{ users(after: "${Buffer.from('[1]').toString('base64url')}") { nodes { id } } }`,
    /after/,
  ],
  [
    'no time',
    'BAD_USER_INPUT',
    ofUser('telemetry(keys: ["battery"], from: "yesterday", to: "2026-01-02T00:00:00Z") { key }'),
    /RFC 3339/,
  ],
  [
    'a time that never was',
    'BAD_USER_INPUT',
    ofUser('alerts(from: "2026-02-30T00:00:00Z") { nodes { id } }'),
    /RFC 3339/,
  ],
  [
    'no zone',
    'BAD_USER_INPUT',
    ofUser(`telemetry(keys: ["battery"], ${RANGE}, timezone: "Mars/Base") { key }`),
    /IANA/,
  ],
  [
    'no duration',
    'BAD_USER_INPUT',
    ofUser(`telemetry(keys: ["battery"], ${RANGE}, bucket: "soon") { key }`),
    /PT1M/,
  ],
  [
    'a mixed bucket',
    'BAD_USER_INPUT',
    ofUser(`telemetry(keys: ["battery"], ${RANGE}, bucket: "P1DT12H") { key }`),
    /bucket: .*36h/,
  ],
  [
    'no key',
    'BAD_USER_INPUT',
    ofUser(`telemetry(keys: [], ${RANGE}) { key }`),
    /keys: name at least one/,
  ],
  [
    'a misspelt column',
    'BAD_USER_INPUT',
    ofUser(`telemetry(keys: ["temprature"], ${RANGE}) { key }`),
    /did you mean temperature\?/,
  ],
  [
    'a turned range',
    'BAD_USER_INPUT',
    ofUser(
      'telemetry(keys: ["battery"], from: "2026-01-02T00:00:00Z", to: "2026-01-01T00:00:00Z") { key }',
    ),
    /to: has to be later/,
  ],
  [
    'a turned range of alerts',
    'BAD_USER_INPUT',
    ofUser('alerts(from: "2026-01-02T00:00:00Z", to: "2026-01-02T00:00:00Z") { nodes { id } }'),
    /to: has to be later/,
  ],
  [
    'a turned range of readings',
    'BAD_USER_INPUT',
    ofUser(
      'device(deviceId: "dev_1") { readings(from: "2026-01-02T00:00:00Z", to: "2026-01-01T00:00:00Z") { nodes { time } } }',
    ),
    /to: has to be later/,
  ],
  [
    'directives without end',
    'BAD_USER_INPUT',
    `{ me ${'@include(if: true) '.repeat(1_000)} { id } }`,
    /token/,
  ],
  [
    'a directive twice',
    'BAD_USER_INPUT',
    '{ me @include(if: true) @include(if: false) { id } }',
    /only be used once/,
  ],
  [
    'fragments in a ring',
    'BAD_USER_INPUT',
    '{ me { ...A } } fragment A on User { ...B } fragment B on User { ...A }',
    /within itself/,
  ],
  [
    'introspection without end',
    'BAD_USER_INPUT',
    `{ __schema { types { ${'fields { type { fields { type { '.repeat(4)} name ${'} } } }'.repeat(4)} } } }`,
    /introspection depth/i,
  ],
  [
    'too many points',
    'TOO_EXPENSIVE',
    ofUser(`telemetry(keys: ["battery"], ${RANGE}, bucket: "1s") { key }`),
    /larger bucket/,
  ],
  [
    'too many points, though of no device',
    'TOO_EXPENSIVE',
    ofUser(
      'telemetry(keys: ["battery"], deviceIds: [], bucket: "1s", ' +
        'from: "2026-01-01T00:00:00Z", to: "2026-01-02T00:00:00Z") { key }',
    ),
    /larger bucket/,
  ],
  [
    'many points many times',
    'TOO_EXPENSIVE',
    ofUser(
      Array.from(
        { length: 20 },
        (_, i) =>
          `a${i}: telemetry(deviceIds: ["dev_1"], keys: ["battery"], ${RANGE}, bucket: "2s") ` +
          '{ key points { start count avg } }',
      ).join(' '),
    ),
    /complexity/,
  ],
  [
    'the same points under many names',
    'TOO_EXPENSIVE',
    ofUser(
      `device(deviceId: "dev_1") { telemetry(keys: ["battery"], ${RANGE}, bucket: "2s") { ` +
        `${Array.from({ length: 100 }, (_, i) => `a${i}: points { start }`).join(' ')} } }`,
    ),
    /complexity/,
  ],
  [
    'too complex',
    'TOO_EXPENSIVE',
    '{ users(first: 1000) { nodes { devices(first: 1000) { nodes { deviceId } } } } }',
    /smaller pages/,
  ],
  [
    'too deep',
    'TOO_EXPENSIVE',
    `{ user(id: "a") { ${'devices(first: 1) { nodes { user { '.repeat(6)} id ${'} } } '.repeat(6)} } }`,
    /depth/,
  ],
  [
    'too many aliases',
    'TOO_EXPENSIVE',
    `{ ${Array.from({ length: 300 }, (_, i) => `a${i}: user(id: "x") { id }`).join(' ')} }`,
    /breadth/,
  ],
  ['a document without end', 'BAD_USER_INPUT', `{ ${'__typename '.repeat(6_000)} }`, /token/],
  ['a NUL character', 'BAD_USER_INPUT', '{ user(id: "\\u0000") { id } }', /NUL/],
];

for (const [name, code, query, says] of refused) {
  test(`${name}: ${code}`, async () => {
    const { errors } = await on.query(query);
    expect(errors?.[0]?.extensions.code).toBe(code);
    expect(errors?.[0]?.message).toMatch(says);
    if (code === 'BAD_USER_INPUT') expect(errors?.[0]?.extensions.issues).toBeArray();
  });
}

test('a literal that makes no sense is pointed at', async () => {
  const { errors } = await on.query(ofUser('alerts(from: "yesterday") { nodes { id } }'));
  expect(errors?.[0]?.locations).toEqual([{ line: 1, column: 37 }]);
});

test('a variable of the wrong type is the input of the user', async () => {
  const query = 'query ($first: Int) { users(first: $first) { nodes { id } } }';
  const { errors } = await on.query(query, { first: 'many' });
  expect(errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
});

test('a database that is away is UNAVAILABLE', async () => {
  const sql = connect('postgres://nobody:secret@127.0.0.1:1/none', { max: 1 });
  const away = await stage({ sql });
  try {
    const { data, errors } = await away.query('{ users { nodes { id } } }');
    expect(data.users).toBeNull();
    expect(errors?.[0]?.extensions.code).toBe('UNAVAILABLE');
    expect(JSON.stringify(errors)).not.toMatch(/secret|127\.0\.0\.1|ECONN/);
  } finally {
    await away.close();
    await sql.end({ timeout: 0 });
  }
}, 20_000);

test('a bug says nothing of what is inside', async () => {
  const logged: unknown[] = [];
  const broken = await stage({
    engineStatus: () => {
      throw new TypeError('secret of the house');
    },
    logger: { error: (fields: unknown) => logged.push(fields), warn() {}, debug() {} } as never,
  });
  try {
    const { errors } = await broken.query('{ ingest { lag } }');
    const requestId = errors?.[0]?.extensions.requestId as string;
    expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
    expect(errors?.[0]?.extensions).toEqual({ code: 'INTERNAL_SERVER_ERROR', requestId });
    expect(JSON.stringify(errors)).not.toContain('secret');
    expect(logged).toMatchObject([{ err: { message: 'secret of the house' }, requestId }]);
  } finally {
    await broken.close();
  }
});
