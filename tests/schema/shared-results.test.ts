import { expect, test } from 'bun:test';
import {
  GraphQLInt,
  GraphQLNonNull,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
  parse,
} from 'graphql';
import { apiError } from '../../src/schema/errors.ts';
import { sharedSubscribe, until } from './support.ts';

/** One event goes to each subscriber; `resolved` counts how often it is worked out. */
function stage() {
  let resolved = 0;
  const event = { n: 7 };
  const args = { after: { type: GraphQLInt } };
  const schema = new GraphQLSchema({
    query: new GraphQLObjectType({ name: 'Query', fields: { n: { type: GraphQLInt } } }),
    subscription: new GraphQLObjectType({
      name: 'Subscription',
      fields: {
        event: {
          type: new GraphQLObjectType({
            name: 'Event',
            fields: {
              n: {
                type: GraphQLString,
                args: { as: { type: GraphQLString } },
                resolve: (_, { as }, { viewer }) => `${++resolved} ${viewer.userId} ${as}`,
              },
            },
          }),
          args,
          subscribe: async function* () {
            yield { events: [event] };
          },
          resolve: (delivery) => delivery.event,
        },
      },
    }),
  });
  const subscribe = sharedSubscribe();
  return async (
    text: string,
    { userId = 'ann', variables = {} }: { userId?: string; variables?: object } = {},
  ) => {
    const events = await subscribe({
      schema,
      document: parse(text),
      contextValue: { viewer: { kind: 'user', userId }, door: { push: null } },
      variableValues: variables as Record<string, unknown>,
    });
    const { value } = (await events.next()) as { value: { data: { event: { n: string } } } };
    return value.data.event.n;
  };
}

const TEXT = 'subscription ($after: Int, $as: String) { event(after: $after) { n(as: $as) } }';

test('what many ask for in the same words is worked out once', async () => {
  const ask = stage();
  const answers = await Promise.all([ask(TEXT), ask(TEXT), ask(TEXT, { variables: { after: 3 } })]);
  expect(answers).toEqual(['1 ann undefined', '1 ann undefined', '1 ann undefined']);
});

test('another viewer, document or variable in the answer has an answer of its own', async () => {
  const ask = stage();
  expect(await ask(TEXT)).toBe('1 ann undefined');
  expect(await ask(TEXT, { userId: 'bob' })).toBe('2 bob undefined');
  expect(await ask(TEXT, { variables: { as: 'x' } })).toBe('3 ann x');
  expect(await ask('subscription { event { n(as: "y") } }')).toBe('4 ann y');
  const fragment = 'fragment F on Event { n(as: $as) }';
  const spread = `subscription ($as: String) { event { ...F } } ${fragment}`;
  expect(await ask(spread, { variables: { as: 'p' } })).toBe('5 ann p');
  expect(await ask(spread, { variables: { as: 'q' } })).toBe('6 ann q');
});

test('an answer is not shared for long', async () => {
  const ask = stage();
  expect(await ask(TEXT)).toBe('1 ann undefined');
  await Bun.sleep(1_050);
  expect(await ask(TEXT)).toBe('2 ann undefined');
});

test('an answer does not last longer for being asked for', async () => {
  const ask = stage();
  const answers = new Set<string>();
  const until = performance.now() + 2_100;
  while (performance.now() < until) {
    answers.add(await ask(TEXT));
    await Bun.sleep(100);
  }
  expect(answers.size).toBeGreaterThan(1);
});

test('a subscription ends with an event that could not be read, so that resuming repeats it', async () => {
  const read: number[] = [];
  let isAway = true;
  const schema = new GraphQLSchema({
    query: new GraphQLObjectType({ name: 'Query', fields: { n: { type: GraphQLInt } } }),
    subscription: new GraphQLObjectType({
      name: 'Subscription',
      fields: {
        n: {
          type: new GraphQLNonNull(GraphQLInt),
          subscribe: async function* () {
            yield { events: [{ n: 1 }, { n: 2 }, { n: 3 }] };
          },
          resolve: ({ event: { n } }) => {
            if (n === 2 && isAway) throw apiError('UNAVAILABLE', 'away');
            return n;
          },
        },
      },
    }),
  });
  const follow = async () => {
    const results = await sharedSubscribe()({
      schema,
      document: parse('subscription { n }'),
      contextValue: { viewer: { kind: 'user', userId: 'ann' }, door: { push: null } },
    });
    for await (const { data } of results as AsyncIterable<{ data: { n: number } | null }>) {
      if (data) read.push(data.n);
    }
  };
  await follow();
  expect(read).toEqual([1]);
  isAway = false;
  await follow();
  expect(read).toEqual([1, 1, 2, 3]);
});

/** Subscribes to 1 to 4 in pages of two; `push` takes the answers. */
async function pushed(push: (answer: string) => void | Promise<void>, lost?: number) {
  const schema = new GraphQLSchema({
    query: new GraphQLObjectType({ name: 'Query', fields: { n: { type: GraphQLInt } } }),
    subscription: new GraphQLObjectType({
      name: 'Subscription',
      fields: {
        n: {
          type: new GraphQLNonNull(GraphQLInt),
          subscribe: async function* () {
            yield { events: [{ n: 1 }, { n: 2 }] };
            yield { events: [{ n: 3 }, { n: 4 }] };
          },
          resolve: async ({ event: { n } }) => {
            // The later ones are known sooner.
            for (let turns = 8 - n; turns > 0; turns--) await Promise.resolve();
            if (n === lost) throw apiError('UNAVAILABLE', 'away');
            return n;
          },
        },
      },
    }),
  });
  return (await sharedSubscribe()({
    schema,
    document: parse('subscription { n }'),
    contextValue: { viewer: { kind: 'user', userId: 'ann' }, door: { push } },
  })) as AsyncIterableIterator<unknown>;
}

test('answers are pushed in order, and only the end is yielded', async () => {
  const answers: string[] = [];
  const results = await pushed((answer) => void answers.push(answer));
  expect(await results.next()).toEqual({ done: true, value: undefined });
  expect(answers).toEqual([1, 2, 3, 4].map((n) => `{"data":{"n":${n}}}`));
});

test('whoever has enough for now is not pushed more, and nothing once it leaves', async () => {
  for (const leaves of [false, true]) {
    const answers: string[] = [];
    const full = Promise.withResolvers<void>();
    const results = await pushed((answer) => {
      answers.push(answer);
      return full.promise;
    });
    const end = results.next();
    await until(() => answers.length === 1, 20_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(answers).toHaveLength(1);
    const left = leaves ? results.return?.() : null;
    full.resolve();
    expect(await end).toEqual({ done: true, value: undefined });
    await left;
    expect(answers).toHaveLength(leaves ? 1 : 4);
  }
}, 60_000);

test('nothing is pushed behind an event that could not be read', async () => {
  const answers: string[] = [];
  const results = await pushed((answer) => void answers.push(answer), 3);
  expect((await results.next()).done).toBe(true);
  expect(answers).toHaveLength(3);
  expect(JSON.parse(answers[2] as string)).toMatchObject({
    data: null,
    errors: [{ extensions: { code: 'UNAVAILABLE' } }],
  });
});
