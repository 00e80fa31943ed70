import { afterAll, beforeAll, expect, test } from 'bun:test';
import { Kind, parse } from 'graphql';
import { GRAPHIQL_DOCUMENT } from '../../src/schema/graphiql.ts';
import {
  type Answer,
  commitEvent,
  type Stage,
  seedAlert,
  seedDevices,
  seedReadings,
  stage,
} from './support.ts';

/** What GraphiQL opens with runs as it stands, on what the first steps of the README leave behind. */

const operations = parse(GRAPHIQL_DOCUMENT).definitions.flatMap((definition) =>
  definition.kind === Kind.OPERATION_DEFINITION
    ? [{ name: definition.name?.value ?? '', kind: definition.operation }]
    : [],
);

let on: Stage;
beforeAll(async () => {
  on = await stage();
  const device = { userId: 'user_123', deviceId: 'pump_1' };
  await seedDevices(on.sql, [device]);
  await on.sql`UPDATE device_state SET rules = '{"version": 0, "rules": {}}'`;
  await seedAlert(on.sql, { id: 'alert', ...device });
  const time = Date.now() * 1_000;
  await seedReadings(on.sql, [{ time, ...device, temperature: 85.5, battery: 15 }]);
}, 30_000);
afterAll(() => on.close());

/** The first answer, as GraphiQL asks: the whole document and the name of one operation. */
async function answer(operationName: string): Promise<Answer> {
  const answers = on.client().iterate({ query: GRAPHIQL_DOCUMENT, operationName });
  const first = answers.next();
  let isOver = false;
  void first.finally(() => {
    isOver = true;
  });
  for (let n = 0; !isOver && n < 400; n++) {
    await commitEvent(on.sql, { id: `${operationName}${n}`, alertId: 'alert', userId: 'user_123' });
    await Bun.sleep(50);
  }
  return (await first).value as Answer;
}

test('there is an example of each kind', () => {
  expect([...new Set(operations.map(({ kind }) => kind as string))].sort()).toEqual([
    'mutation',
    'query',
    'subscription',
  ]);
});

test.each(operations.map(({ name }) => name))(
  '%s runs, and shows something',
  async (name) => {
    const { data, errors } = await answer(name);
    expect(errors).toBeUndefined();
    for (const value of Object.values(data)) expect(JSON.stringify(value)).toMatch(/\d|"/);
  },
  60_000,
);
