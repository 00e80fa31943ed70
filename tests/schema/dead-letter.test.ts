import { afterAll, beforeAll, beforeEach, expect, test } from 'bun:test';
import { OPTIONS } from '../engine/engine-stage.ts';
import { type LogStage, logStage } from './log-stage.ts';
import type { Answer } from './support.ts';

const RESULT = '{ matched replayed failed problem more }';
const TOPIC = 'users/ann/devices/d1/telemetry';
const at = new Date().toISOString();
let stage: LogStage;
let query: LogStage['on']['query'];

beforeAll(async () => {
  stage = await logStage();
  query = stage.on.query;
}, 30_000);
afterAll(() => stage.close());
beforeEach(async () => {
  await stage.on.sql`TRUNCATE dead_letters`;
});

const bytes = (text: string) => new TextEncoder().encode(text);
const send = (...texts: string[]) =>
  Promise.all(
    texts.map((text) =>
      stage.engines.log.append({ topic: TOPIC, key: 'ann/d1', value: bytes(text) }),
    ),
  );
const replay = async (args: string): Promise<Answer['data']> => {
  const { data, errors } = await query(`mutation { replayDeadLetters(${args}) ${RESULT} }`);
  expect(errors).toBeUndefined();
  return data.replayDeadLetters;
};
const letters = async () =>
  (
    await query(`{ deadLetters(first: 1000) { nodes {
      id reason topic payload offset replayedAt replayedBy } } }`)
  ).data.deadLetters.nodes.toReversed();
/** Inserts letters as another log's engine has left them. */
const insert = (count: number, fields: { reason?: string; detail?: string } = {}) =>
  stage.on.sql`
    INSERT INTO dead_letters (log_id, log_topic, partition, "offset", log_key, topic, reason, detail,
      payload, arrival_time)
    SELECT 'old', 'iot-stream', 0, n, 'ann/d1', ${TOPIC}, ${fields.reason ?? 'BAD_JSON'},
      ${fields.detail ?? 'not JSON'}, convert_to('{' || n, 'UTF8'), now()
    FROM generate_series(1, ${count}::int) n`;

test('after a fix, what was refused for it is stored; what is still wrong is a new dead letter', async () => {
  const reading = `{"time":"${at}","sequence_id":1,"temperature":20,"note":"${'x'.repeat(400)}"}`;
  const strict = await stage.engines.start({ options: { ...OPTIONS, maxPayloadBytes: 300 } });
  await send(reading, '{"time":', '[]');
  await stage.engines.stored();
  await strict.stop();
  expect((await query('{ deadLetterCounts { reason count replayed } }')).data).toEqual({
    deadLetterCounts: [
      { reason: 'BAD_JSON', count: 2, replayed: 0 },
      { reason: 'TOO_LARGE', count: 1, replayed: 0 },
    ],
  });

  const lenient = await stage.engines.start();
  const all = { matched: 3, replayed: 3, failed: 0, problem: null, more: false };
  expect(await replay(`topic: "${TOPIC}"`)).toEqual(all);
  await stage.engines.stored();
  expect(await stage.engines.count('raw_telemetry')).toBe(1);
  const found = await letters();
  const payload = (text: string) => Buffer.from(text).toString('base64');
  expect(
    found.map(({ replayedBy, ...rest }: Answer['data']) => [rest.payload, replayedBy]),
  ).toEqual([
    [payload(reading), 'operator'],
    [payload('{"time":'), 'operator'],
    [payload('[]'), 'operator'],
    [payload('{"time":'), null],
    [payload('[]'), null],
  ]);
  expect(found.map(({ topic }: Answer['data']) => topic)).toEqual(Array(5).fill(TOPIC));
  expect(found[0].replayedAt).not.toBeNull();
  expect((await query('{ deadLetterCounts { reason count replayed } }')).data).toEqual({
    deadLetterCounts: [
      { reason: 'BAD_JSON', count: 4, replayed: 2 },
      { reason: 'TOO_LARGE', count: 1, replayed: 1 },
    ],
  });

  // Replayed once is enough, unless it is asked for by id.
  expect(await replay('reason: "TOO_LARGE"')).toMatchObject({ matched: 0, replayed: 0 });
  expect(await replay(`ids: ["${found[0].id}"]`)).toMatchObject({ matched: 1, replayed: 1 });
  await stage.engines.stored();
  expect(await stage.engines.count('raw_telemetry')).toBe(1);
  const open = (await query('{ deadLetters(replayed: false) { nodes { reason } } }')).data;
  expect(open.deadLetters.nodes).toHaveLength(2);
  // What the other tests put into the log stays there.
  await lenient.stop();
}, 60_000);

test('hundreds go back in pieces, each once though two replay at a time', async () => {
  const { log } = stage.engines;
  const from = log.bounds(0).end;
  await insert(350);
  const results = await Promise.all([replay('reason: "BAD_JSON"'), replay('reason: "BAD_JSON"')]);
  expect(results.reduce((sum, { replayed }) => sum + replayed, 0)).toBe(350);
  expect(results.reduce((sum, { failed }) => sum + failed, 0)).toBe(0);
  const records = log.read(0, from, 1_000);
  const texts = records.map(({ value }) => new TextDecoder().decode(value));
  expect(texts.toSorted()).toEqual(Array.from({ length: 350 }, (_, i) => `{${i + 1}`).toSorted());
  expect(new Set(records.map(({ topic, key }) => `${topic} ${key}`))).toEqual(
    new Set([`${TOPIC} ann/d1`]),
  );
}, 60_000);

test('what was kept in part is not put back, and the others are', async () => {
  await insert(1, { reason: 'TOO_LARGE', detail: 'the MQTT packet has 5000000 bytes; at most 1' });
  const [row] = await letters();
  await stage.on
    .sql`INSERT INTO dead_letters (log_id, log_topic, partition, "offset", topic, reason,
      detail, payload, arrival_time)
    VALUES ('old', 'iot-stream', 0, 99, ${TOPIC}, 'TOO_LARGE', 'the payload has 2 bytes', '{]', now())`;
  expect(await replay('reason: "TOO_LARGE"')).toEqual({
    matched: 2,
    replayed: 1,
    failed: 1,
    problem: 'only the beginning of its payload was kept',
    more: false,
  });
  expect((await letters()).find(({ id }: Answer['data']) => id === row.id).replayedAt).toBeNull();
}, 30_000);

test('an envelope goes back as it was, without a topic beside it', async () => {
  const { log } = stage.engines;
  const from = log.bounds(0).end;
  const envelope = JSON.stringify({ topic: TOPIC, payload: '{"time":' });
  await stage.on
    .sql`INSERT INTO dead_letters (log_id, log_topic, partition, "offset", log_key, topic,
      reason, detail, payload, arrival_time)
    VALUES ('old', 'iot-stream', 0, 1, null, ${TOPIC}, 'BAD_JSON', '', ${Buffer.from(envelope)}, now()),
      ('old', 'iot-stream', 0, 2, 'k', null, 'BAD_JSON', '', 'x', now())`;
  expect(await replay('reason: "BAD_JSON"')).toMatchObject({ replayed: 2 });
  const [first, second] = log.read(0, from, 10);
  expect(first).toMatchObject({ topic: null, key: 'ann/d1' });
  expect(new TextDecoder().decode(first?.value)).toBe(envelope);
  expect(second).toMatchObject({ topic: null, key: 'k' });
}, 30_000);

test('a log that takes nothing leaves them as they are', async () => {
  const refusing = { append: () => Promise.reject(new Error('the disk is full')) };
  const away = await logStage({ appender: refusing });
  try {
    await away.on
      .sql`INSERT INTO dead_letters (log_id, log_topic, partition, "offset", topic, reason,
        detail, payload, arrival_time)
      SELECT 'old', 'iot-stream', 0, n, ${TOPIC}, 'BAD_JSON', '', 'x', now()
      FROM generate_series(1, 250) n`;
    const { data } = await away.on.query(
      `mutation { replayDeadLetters(reason: "BAD_JSON") ${RESULT} }`,
    );
    const stuck = { matched: 100, replayed: 0, failed: 100, more: true };
    expect(data.replayDeadLetters).toEqual({ ...stuck, problem: 'the disk is full' });
    const [row] = await away.on.sql`SELECT count(replayed_at)::int AS n FROM dead_letters`;
    expect(row?.n).toBe(0);
  } finally {
    await away.close();
  }
}, 30_000);

test('it has to be said what; and nobody but an operator may', async () => {
  const refused = async (args: string) =>
    (await query(`mutation { replayDeadLetters${args} { matched } }`)).errors?.[0]?.extensions;
  expect(await refused('')).toMatchObject({ code: 'BAD_USER_INPUT' });
  expect(await refused('(ids: ["1", "x"])')).toMatchObject({ issues: [{ path: 'ids.1' }] });
  const many = `(ids: [${Array(1_001).fill(1)}])`;
  expect(await refused(many)).toMatchObject({ issues: [{ path: 'ids' }] });
  const user = { kind: 'user', userId: 'ann' } as const;
  const { errors } = await stage.as(user, 'mutation { replayDeadLetters(ids: ["1"]) { matched } }');
  expect(errors?.[0]?.extensions.code).toBe('FORBIDDEN');
  const counts = await stage.as(user, '{ deadLetterCounts { reason } }');
  expect(counts.errors?.[0]?.extensions.code).toBe('FORBIDDEN');
});
