import { afterAll, beforeAll, expect, test } from 'bun:test';
import { execute, isObjectType, parse } from 'graphql';
import { createClient } from 'graphql-ws';
import { SignJWT } from 'jose';
import { model } from '../../src/model.ts';
import { createAuthenticate } from '../../src/schema/authenticate.ts';
import { createContext, type Viewer } from '../../src/schema/context.ts';
import { createSchema } from '../../src/schema/index.ts';
import { type Step, walk } from './schema-walk.ts';
import {
  type Answer,
  commitEvent,
  type Stage,
  seedAlert,
  seedDevices,
  seedReadings,
  sharedSubscribe,
  stage,
  until,
} from './support.ts';

/**
 * Walks the whole schema as somebody who may not see: another user, another user's device, and a
 * device of the same user. All that is ann7's alone has "secret" in it.
 */

/** Who may ask each root field. One that is new has to be decided here. */
const ROOTS: Record<string, 'operator' | 'ann7' | 'device'> = {
  'Query.me': 'ann7',
  'Query.user': 'ann7',
  'Query.users': 'operator',
  'Query.myDevice': 'device',
  'Query.alert': 'ann7',
  'Query.alerts': 'operator',
  'Query.alertCounts': 'ann7',
  'Query.ingest': 'operator',
  'Query.deadLetters': 'operator',
  'Query.deadLetterCounts': 'operator',
  'Mutation.setRules': 'ann7',
  'Mutation.upsertRule': 'ann7',
  'Mutation.deleteRule': 'ann7',
  'Mutation.setRuleEnabled': 'ann7',
  'Mutation.acknowledgeAlert': 'ann7',
  'Mutation.snoozeAlert': 'ann7',
  'Mutation.unsnoozeAlert': 'ann7',
  'Mutation.publishReading': 'ann7',
  'Mutation.resetDeviceClock': 'ann7',
  'Mutation.replayDeadLetters': 'operator',
  'Subscription.alertEvents': 'ann7',
  'Subscription.readings': 'ann7',
  'Subscription.ingestStatus': 'operator',
};

const RULE = '{ key: "battery", operator: LT, threshold: 5, message: "by a stranger" }';

/** What each argument is asked with, by its name or in full; null leaves it out. */
const ARGUMENTS: Record<string, string | null> = {
  userId: '"ann7"',
  'Query.user.id': '"ann7"',
  // Of an alert, wherever else something is named so.
  id: '"secret-alert"',
  enabled: 'false',
  for: '"1h"',
  deviceId: '"secret-pump"',
  deviceIds: '["secret-pump"]',
  ruleId: '"secret-rule"',
  ids: null,
  rules: `[${RULE}]`,
  rule: RULE,
  temperatureMax: '1',
  expectedVersion: null,
  reading: '{ time: "2026-01-01T00:00:00Z", sequence_id: 9, temperature: 1 }',
  first: '3',
  after: null,
  'Subscription.alertEvents.after': '0',
  search: null,
  status: null,
  minSeverity: null,
  reason: null,
  topic: null,
  replayed: null,
  from: '"2023-11-01T00:00:00Z"',
  to: '"2023-12-01T00:00:00Z"',
  keys: '["temperature"]',
  bucket: '"1d"',
  maxPoints: null,
  fill: null,
  timezone: null,
  order: null,
};

const SECRET = 'a secret of more than thirty-two characters';
const schema = createSchema(model);
const undecided: string[] = [];
const steps = walk(schema, (coordinate) => {
  const name = coordinate.split('.')[2] as string;
  const decided = ARGUMENTS[coordinate] ?? ARGUMENTS[name];
  if (decided === undefined) undecided.push(coordinate);
  return decided ?? null;
});

const published: string[] = [];
let on: Stage;
beforeAll(async () => {
  on = await stage({
    authenticate: createAuthenticate({ keys: { secret: SECRET } }),
    appender: {
      append: async ({ topic }: { topic: string }) => void published.push(topic),
    } as never,
  });
  await seed();
}, 30_000);
afterAll(() => on.close());

async function seed(): Promise<void> {
  const { sql } = on;
  const rules = JSON.stringify([
    { id: 'secret-rule', key: 'temperature', operator: '>', threshold: 80, message: 'secret' },
  ]);
  await sql`INSERT INTO user_configs (user_id, rules) VALUES ('ann7', ${rules}), ('bob', '[]')`;
  for (const [userId, deviceId] of [
    ['ann7', 'secret-pump'],
    ['ann7', 'fan'],
    ['bob', 'bobs'],
  ] as const) {
    await seedDevices(sql, [{ userId, deviceId }]);
    const extra = deviceId === 'secret-pump' ? '{"note": "secret"}' : null;
    const time = 1_700_000_000_000_000;
    await seedReadings(sql, [{ userId, deviceId, time, temperature: 20, extra }]);
  }
  await sql`UPDATE device_state SET rules = '{"version": 0, "rules": {}}'`;
  const ann = { userId: 'ann7', deviceId: 'secret-pump' };
  await seedAlert(sql, { id: 'secret-alert', ruleId: 'secret-rule', ...ann });
  await sql`UPDATE alerts SET message = 'secret'`;
  await commitEvent(sql, { id: 'secret-event', alertId: 'secret-alert', ...ann });
}

type Stranger = { name: string; viewer: Viewer; claims: Record<string, string>; sees: RegExp };

/** `sees` is what must not be in any answer to them. */
const STRANGERS: Stranger[] = [
  {
    name: 'another user',
    viewer: { kind: 'user', userId: 'bob' },
    claims: { sub: 'bob' },
    sees: /ann7|secret/,
  },
  {
    name: "another user's device",
    viewer: { kind: 'device', userId: 'bob', deviceId: 'bobs' },
    claims: { role: 'device', sub: 'bob', device: 'bobs' },
    sees: /ann7|secret/,
  },
  {
    name: 'another device of the user',
    viewer: { kind: 'device', userId: 'ann7', deviceId: 'fan' },
    claims: { role: 'device', sub: 'ann7', device: 'fan' },
    sees: /secret/,
  },
];

function token(claims: Record<string, string>): Promise<string> {
  const key = new TextEncoder().encode(SECRET);
  return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(key);
}

async function ask(query: string, claims: Record<string, string>): Promise<Answer> {
  const response = await fetch(`${on.server.url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${await token(claims)}`,
    },
    body: JSON.stringify({ query }),
  });
  return (await response.json()) as Answer;
}

/** Past the refusal of documents: by the resolvers alone. */
async function resolve(step: Step, viewer: Viewer): Promise<Answer> {
  const args = {
    schema,
    document: parse(step.document),
    contextValue: createContext(on.deps, viewer),
  };
  if (step.kind !== 'subscription') return (await execute(args)) as Answer;
  const stream = await sharedSubscribe()(args);
  if (!(Symbol.asyncIterator in stream)) return stream as Answer;
  await stream.return?.();
  return { data: 'a stream' };
}

/** All that is ann7's in the database. */
async function belongings(): Promise<string> {
  const tables = await on.sql<{ name: string }[]>`SELECT quote_ident(table_name) AS name
    FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`;
  const rows: string[] = [];
  for (const { name } of tables) {
    const found = await on.sql.unsafe<{ row: string }[]>(
      `SELECT t::text AS row FROM ${name} t WHERE t::text ~ 'ann7|secret' ORDER BY 1`,
    );
    rows.push(...found.map(({ row }) => `${name} ${row}`));
  }
  return rows.join('\n');
}

const REFUSALS = ['NOT_FOUND', 'FORBIDDEN', 'BAD_USER_INPUT'];

/** What an answer must not hold: content, or an error that is no refusal. */
function leak({ data, errors = [] }: Answer, { sees }: Stranger): unknown {
  if (data === 'a stream') return 'a stream';
  if (sees.test(JSON.stringify(data ?? null))) return data;
  return errors.find(({ extensions = {} }) => !REFUSALS.includes(extensions.code as string));
}

test('the walk asks for every field of the schema, and each root field is decided', () => {
  const all = Object.values(schema.getTypeMap()).flatMap((type) =>
    isObjectType(type) && !type.name.startsWith('__')
      ? Object.keys(type.getFields()).map((field) => `${type.name}.${field}`)
      : [],
  );
  expect([...new Set(steps.flatMap(({ fields }) => fields))].sort()).toEqual(all.sort());
  // A new argument: write into ARGUMENTS what to ask it with.
  expect(undecided).toEqual([]);
  expect(Object.keys(ROOTS).sort()).toEqual([...new Set(steps.map(({ root }) => root))].sort());
});

for (const stranger of STRANGERS) {
  test(`${stranger.name} sees and changes nothing by any field`, async () => {
    const before = await belongings();
    for (const step of steps) {
      const answers: Answer[] = [];
      if (step.kind !== 'subscription') answers.push(await ask(step.document, stranger.claims));
      // Only the refusal of documents keeps a device from what hangs on itself.
      if (step.root !== 'Query.myDevice') answers.push(await resolve(step, stranger.viewer));
      for (const answer of answers) {
        const leaked = leak(answer, stranger);
        if (leaked) throw new Error(`${step.document}: ${JSON.stringify(leaked)}`);
      }
    }
    expect(await belongings()).toBe(before);
    expect(published).toEqual([]);
  }, 120_000);
}

test('the same questions are answered to those who may ask: they reach what is hidden', async () => {
  const viewers: Record<string, Viewer> = {
    operator: { kind: 'operator' },
    ann7: { kind: 'user', userId: 'ann7' },
    device: { kind: 'device', userId: 'ann7', deviceId: 'secret-pump' },
  };
  const reached = new Set<string>();
  for (const step of steps) {
    // Changes come last, and need a state of their own.
    if (step.kind === 'mutation') continue;
    const answer = await resolve(step, viewers[ROOTS[step.root] as string] as Viewer);
    if (answer.errors) throw new Error(`${step.document}: ${JSON.stringify(answer.errors)}`);
    if (/secret|a stream/.test(JSON.stringify(answer.data))) reached.add(step.root);
  }
  expect([...reached].sort()).toEqual([
    'Query.alert',
    'Query.alerts',
    'Query.me',
    'Query.myDevice',
    'Query.user',
    'Query.users',
    'Subscription.alertEvents',
    'Subscription.ingestStatus',
    'Subscription.readings',
  ]);
}, 120_000);

test('a device reads itself, and publishes for itself, over HTTP and WebSocket', async () => {
  const device = { role: 'device', sub: 'ann7', device: 'fan' };
  const own = await ask('{ myDevice { deviceId user { id } latest { temperature } } }', device);
  expect(own.data).toEqual({
    myDevice: { deviceId: 'fan', user: { id: 'ann7' }, latest: { temperature: 20 } },
  });
  const time = new Date().toISOString();
  const reading = `{ time: "${time}", sequence_id: 1, temperature: 2 }`;
  const publish = (deviceId: string) =>
    ask(`mutation { publishReading(deviceId: "${deviceId}", reading: ${reading}) }`, device);
  expect((await publish('secret-pump')).errors?.[0]?.extensions.code).toBe('NOT_FOUND');
  expect(await publish('fan')).toEqual({ data: { publishReading: true } });
  expect(published.splice(0)).toEqual(['users/ann7/devices/fan/telemetry']);
  for (const field of [
    'me { id }',
    'alertCounts { count }',
    'myDevice { user { devices { nodes { id } } } }',
  ]) {
    const { errors } = await ask(`{ ${field} }`, device);
    expect(errors?.[0]?.message).toContain('a device asks for itself only');
  }
  const client = createClient({
    url: `${on.server.url.replace('http', 'ws')}/graphql`,
    connectionParams: { Authorization: `Bearer ${await token(device)}` },
    retryAttempts: 0,
  });
  try {
    const query = (name: string) => ({
      query: `subscription { readings(deviceId: "${name}") { sequenceId } }`,
    });
    const first = client.iterate<{ readings: { sequenceId: number } }>(query('fan')).next();
    const foreign = client.iterate(query('secret-pump'));
    expect((await foreign.next()).value?.errors?.[0]?.extensions?.code).toBe('NOT_FOUND');
    const events = client.iterate({ query: 'subscription { alertEvents { __typename } }' });
    // Not by `rejects`, which runs the loop within the loop: Bun's client reads frames askew then.
    const [refusal] = await events.next().catch((errors) => errors);
    expect(refusal.message).toContain('a device asks for itself only');
    let got: unknown = null;
    void first.then(({ value }) => {
      got = value;
    });
    await until(() => {
      const columns = { temperature: 1, battery: 1 };
      const shared = { time: 1_700_000_000_000_000, userId: 'ann7', columns, extra: {} };
      on.feed.publish([
        { ...shared, deviceId: 'secret-pump', sequenceId: 1 },
        { ...shared, deviceId: 'fan', sequenceId: 2 },
      ]);
      return got !== null;
    }, 20_000);
    expect(got).toEqual({ data: { readings: { sequenceId: 2 } } });
  } finally {
    await client.dispose();
  }
}, 60_000);

test('without a name of a user, events are one’s own', async () => {
  const context = createContext(on.deps, { kind: 'user', userId: 'bob' });
  const document = parse('subscription { alertEvents(after: 0) { message alert { id } } }');
  const stream = await sharedSubscribe()({ schema, document, contextValue: context });
  if (!(Symbol.asyncIterator in stream)) throw new Error('refused');
  await seedAlert(on.sql, { id: 'bobs-alert', userId: 'bob', deviceId: 'bobs' });
  for (const [id, userId] of [
    ['secret-2', 'ann7'],
    ['bobs-event', 'bob'],
  ] as const) {
    const alertId = userId === 'bob' ? 'bobs-alert' : 'secret-alert';
    await commitEvent(on.sql, { id, alertId, userId });
  }
  const { value } = await stream.next();
  expect((value as Answer).data).toEqual({
    alertEvents: { message: 'too hot', alert: { id: 'bobs-alert' } },
  });
  await stream.return?.();
}, 60_000);
