import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { type Answer, type Stage, seedAlert, seedDevices, seedReadings, stage } from './support.ts';

const T0 = Date.UTC(2026, 0, 10) * 1_000;
const ROWS = 11;
let on: Stage;
beforeAll(async () => {
  on = await stage();
}, 30_000);
afterAll(() => on.close());

interface List {
  /** From the operation down to the connection, whose arguments are `ARGS`. */
  path: string[];
  field: string;
  /** Adds a row; numbers may come in any order, also between those that are there. */
  add: (number: number) => Promise<unknown>;
}

const pad = (number: number) => String(number).padStart(4, '0');
const userPath = (id: string) => `user(id: "${id}")`;
const LISTS: Record<string, List> = {
  users: {
    path: ['users(ARGS)'],
    field: 'id',
    add: (n) => seedDevices(on.sql, [{ userId: `listed_${pad(n)}`, deviceId: 'd' }]),
  },
  'User.devices': {
    path: [userPath('of_devices'), 'devices(ARGS)'],
    field: 'deviceId',
    add: (n) => seedDevices(on.sql, [{ userId: 'of_devices', deviceId: `dev_${pad(n)}` }]),
  },
  'User.alerts': {
    path: [userPath('of_alerts'), 'alerts(ARGS)'],
    field: 'id',
    // Two of each start, so that the id decides.
    add: (n) =>
      seedAlert(on.sql, { id: `u${pad(n)}`, userId: 'of_alerts', startedAt: T0 + (n >> 1) }),
  },
  'Device.alerts': {
    path: [userPath('of_device'), 'device(deviceId: "dev_1")', 'alerts(ARGS)'],
    field: 'id',
    add: (n) =>
      seedAlert(on.sql, { id: `d${pad(n)}`, userId: 'of_device', startedAt: T0 + (n >> 1) }),
  },
  alerts: {
    path: ['alerts(ARGS, minSeverity: CRITICAL)'],
    field: 'id',
    add: (n) =>
      seedAlert(on.sql, { id: `a${pad(n)}`, severity: 'CRITICAL', startedAt: T0 + (n >> 1) }),
  },
  'Device.readings': {
    path: [userPath('of_readings'), 'device(deviceId: "dev_1")', 'readings(ARGS)'],
    field: 'sequenceId',
    add: (n) =>
      seedReadings(on.sql, [{ userId: 'of_readings', time: T0 + (n >> 1), sequenceId: n }]),
  },
  'User.ruleChanges': {
    path: [userPath('of_changes'), 'ruleChanges(ARGS)'],
    field: 'version',
    add: (n) =>
      on.query(
        `mutation { setRules(userId: "of_changes", rules: [{ key: "k", operator: GT, threshold: ${n},
          message: "m" }]) { version } }`,
      ),
  },
  deadLetters: {
    path: ['deadLetters(ARGS)'],
    field: 'offset',
    add: (n) =>
      on.sql`INSERT INTO dead_letters (log_id, log_topic, partition, "offset", topic, reason, detail,
          payload, arrival_time)
        VALUES ('log', 'iot-stream', 0, ${n}, 't', 'BAD_JSON', '', 'x', now())`.execute(),
  },
};

async function ask(
  { path, field }: List,
  args: string,
): Promise<Answer & { page: Answer['data'] }> {
  const asked = path.map((step) => step.replace('ARGS', args));
  const inner = `{ edges { cursor node { ${field} } } nodes { ${field} }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }`;
  const query = `{ ${asked.join(' { ')} ${inner} ${'}'.repeat(asked.length)}`;
  const answer = await on.query(query);
  const names = path.map((step) => step.split('(')[0] as string);
  return { ...answer, page: names.reduce((value, name) => value?.[name], answer.data) };
}

describe.each(Object.entries(LISTS))('%s', (name, list) => {
  beforeAll(async () => {
    if (name.startsWith('Device.')) {
      const userId = name === 'Device.alerts' ? 'of_device' : 'of_readings';
      await seedDevices(on.sql, [{ userId, deviceId: 'dev_1' }]);
    }
    if (name.startsWith('User.')) {
      const userId = { devices: 'of_devices', alerts: 'of_alerts' }[name.slice(5)] ?? 'of_changes';
      if (userId !== 'of_devices') await seedDevices(on.sql, [{ userId, deviceId: 'dev_1' }]);
    }
    for (let n = 0; n < ROWS; n++) await list.add(2 * n + 100);
  }, 30_000);

  test('pages give each row once, in one order, while others come in between', async () => {
    const whole = (await ask(list, 'first: 100')).page;
    const present: unknown[] = whole.nodes.map((node: Record<string, unknown>) => node[list.field]);
    expect(present.length).toBeGreaterThanOrEqual(ROWS);
    const seen: unknown[] = [];
    let after = '';
    for (let round = 0; round < 100; round++) {
      const { page } = await ask(list, `first: 2${after}`);
      expect(page.pageInfo.hasPreviousPage).toBe(after !== '');
      expect(page.pageInfo.startCursor).toBe(page.edges[0]?.cursor ?? null);
      seen.push(...page.edges.map(({ node }: Answer['data']) => node[list.field]));
      if (!page.pageInfo.hasNextPage) break;
      after = `, after: "${page.pageInfo.endCursor}"`;
      // Before the first, behind the last, and among them.
      if (round < 3) for (const n of [1 + round, 105 + 4 * round, 900 + round]) await list.add(n);
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((row) => present.includes(row))).toEqual(present);
  }, 30_000);

  test('a page has a bound, and a foreign cursor is refused', async () => {
    const issueOf = async (args: string) => {
      const { errors } = await ask(list, args);
      expect(errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT');
      const issues = errors?.[0]?.extensions.issues as { path: string }[] | undefined;
      return issues?.[0]?.path;
    };
    for (const first of [0, -1, 1_001]) expect(await issueOf(`first: ${first}`)).toBe('first');
    const foreign = Buffer.from('["x", 1, 2]').toString('base64url');
    for (const after of ['', 'nonsense', foreign]) {
      expect(await issueOf(`first: 1, after: "${after}"`)).toBe('after');
    }
  }, 30_000);
});

test('every connection of the schema is tried', async () => {
  const { data } = await on.query(
    '{ __schema { types { name fields { name type { name ofType { name } } } } } }',
  );
  const found = data.__schema.types.flatMap(({ name, fields }: Answer['data']) =>
    (fields ?? [])
      .filter(({ type }: Answer['data']) =>
        (type.name ?? type.ofType?.name ?? '').endsWith('Connection'),
      )
      .map((field: Answer['data']) => (name === 'Query' ? field.name : `${name}.${field.name}`)),
  );
  expect(found.toSorted()).toEqual(Object.keys(LISTS).toSorted());
});
