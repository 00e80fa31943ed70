import { afterAll, beforeAll, expect, test } from 'bun:test';
import {
  type GraphQLField,
  type GraphQLObjectType,
  getNamedType,
  isLeafType,
  isObjectType,
  isRequiredArgument,
} from 'graphql';
import { formatMicros } from '../../src/domain/time.ts';
import { model } from '../../src/model.ts';
import { createSchema } from '../../src/schema/index.ts';
import { commitEvent, type Stage, seedAlert, seedDevices, seedReadings, stage } from './support.ts';

const schema = createSchema(model);
const T0 = Date.UTC(2026, 0, 10) * 1_000;
const MANY = 6;
let on: Stage;

beforeAll(async () => {
  on = await stage();
  const numbers = Array.from({ length: MANY }, (_, n) => n);
  const rules = numbers.map((n) => ({
    key: `k${n}`,
    operator: 'GT',
    threshold: n,
    message: 'm',
  }));
  for (const userId of numbers.map((n) => `user_${n}`)) {
    await seedDevices(
      on.sql,
      numbers.map((n) => ({ userId, deviceId: `dev_${n}` })),
    );
    await seedReadings(
      on.sql,
      numbers.map((n) => ({ userId, deviceId: `dev_${n}`, time: T0, temperature: 20 })),
    );
    await on.query(
      `mutation ($rules: [RuleInput!]) { setRules(userId: "${userId}", rules: $rules) { version } }`,
      { rules },
    );
    for (const n of numbers) {
      const id = `${userId}-${n}`;
      await seedAlert(on.sql, { id, userId, deviceId: `dev_${n}`, startedAt: T0 + n });
      await commitEvent(on.sql, { id, alertId: id, userId, deviceId: `dev_${n}` });
    }
  }
  await on.sql`UPDATE device_state SET rules = '{"version": 0, "rules": {}}'`;
}, 60_000);
afterAll(() => on.close());

/** How to get some of a type: `...` is where its fields go, `N` how many. */
const MANY_OF: Record<string, string> = {
  User: '{ users(first: N) { nodes { ... } } }',
  Device: '{ user(id: "user_0") { devices(first: N) { nodes { ... } } } }',
  Alert: '{ alerts(first: N) { nodes { ... } } }',
  AlertEvent: '{ alerts(first: N) { nodes { events { ... } } } }',
};
/** The same through two lists, of which the first has N. */
const MANY_OF_MANY: Record<string, string> = {
  Device: '{ users(first: N) { nodes { devices(first: 3) { nodes { ... } } } } }',
  Alert: '{ users(first: N) { nodes { alerts(first: 3) { nodes { ... } } } } }',
};

/** What arguments that have to be there get. */
const ARGUMENTS: Record<string, string> = {
  deviceId: '"dev_1"',
  keys: '["temperature"]',
  from: `"${formatMicros(T0)}"`,
  to: `"${formatMicros(T0 + 3_600_000_000)}"`,
};
/** Of each user by itself: what they read is that user's readings, and they are priced so. */
const BY_USER = new Set(['User.telemetry', 'User.backtest']);
const BY_USER_BELOW = new Set(['Device.telemetry']);

/** A field with all the leaves below it, down through connections, so that everything is resolved. */
function selection(field: GraphQLField<unknown, unknown>, depth = 0): string | null {
  const needed = field.args.filter(isRequiredArgument).map(({ name }) => {
    if (ARGUMENTS[name] === undefined) throw new Error(`no value for ${field.name}(${name}:)`);
    return `${name}: ${ARGUMENTS[name]}`;
  });
  const call = `${field.name}${needed.length > 0 ? `(${needed.join(', ')})` : ''}`;
  const type = getNamedType(field.type);
  if (isLeafType(type)) return call;
  if (!isObjectType(type) || depth > 2) return null;
  const below = Object.values(type.getFields()).filter((inner) => {
    const innerType = getNamedType(inner.type);
    const isPart = inner.name === 'nodes' || /^(Connection|PageInfo|.*Point)$/.test(innerType.name);
    return !inner.args.some(isRequiredArgument) && (isLeafType(innerType) || isPart);
  });
  const inner = below.map((one) => selection(one, depth + 1)).filter((one) => one !== null);
  return inner.length === 0 ? null : `${call} { ${inner.join(' ')} }`;
}

async function statementsFor(template: string, fields: string, parents: number): Promise<number> {
  const before = on.statements().length;
  const query = template.replace('N', String(parents)).replace('...', fields);
  const { errors } = await on.query(query);
  if (errors) throw new Error(`${query}: ${JSON.stringify(errors)}`);
  return on.statements().length - before;
}

function paths(
  templates: Record<string, string>,
  leftOut: ReadonlySet<string>,
): [string, string, string][] {
  return Object.entries(templates).flatMap(([name, template]) => {
    const type = schema.getType(name) as GraphQLObjectType;
    return Object.values(type.getFields()).flatMap((field): [string, string, string][] => {
      const path = `${name}.${field.name}`;
      const fields = leftOut.has(path) ? null : selection(field);
      return fields === null ? [] : [[path, template, fields]];
    });
  });
}

test.each(paths(MANY_OF, BY_USER))(
  '%s of many is as many statements as of one',
  async (...path) => {
    const [, template, fields] = path;
    const one = await statementsFor(template, fields, 1);
    expect(await statementsFor(template, fields, MANY)).toBe(one);
  },
);

test.each(paths(MANY_OF_MANY, BY_USER_BELOW))('%s of many below many', async (...path) => {
  const [, template, fields] = path;
  const one = await statementsFor(template, fields, 1);
  expect(await statementsFor(template, fields, MANY)).toBe(one);
});

test('every type that a list gives is walked', () => {
  const listed = Object.values(schema.getTypeMap())
    .filter((type) => isObjectType(type) && type.name.endsWith('Connection'))
    .map((type) => type.name.replace('Connection', ''));
  // What has only leaves below it fans out into nothing.
  const walked = new Set([...Object.keys(MANY_OF), 'Reading', 'DeadLetter', 'RuleChange']);
  expect(listed.filter((name) => !walked.has(name))).toEqual([]);
});

test('what is asked for under two names is read with both arguments, each for all', async () => {
  const template = '{ user(id: "user_0") { devices(first: N) { nodes { ... } } } }';
  const fields = `up: readings(first: 2, order: ASC) { nodes { time } }
    down: readings(first: 1) { nodes { time } }`;
  const one = await statementsFor(template, fields, 1);
  expect(await statementsFor(template, fields, MANY)).toBe(one);
});
