import { expect, test } from 'bun:test';
import {
  GraphQLInt,
  GraphQLNonNull,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
  parse,
  type SubscriptionArgs,
} from 'graphql';
import { apiError } from '../../src/schema/errors.ts';
import { sharedResults } from '../../src/schema/shared-results.ts';

type Subscribe = (args: SubscriptionArgs) => Promise<AsyncIterableIterator<unknown>>;

/** As the plugin makes it; what is shared is shared among its calls. */
function sharedSubscribe(): Subscribe {
  let subscribe: Subscribe = () => Promise.reject(new Error('not set'));
  void sharedResults().onSubscribe?.({
    setSubscribeFn: (given: Subscribe) => {
      subscribe = given;
    },
  } as never);
  return subscribe;
}

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
            yield { event };
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
      contextValue: { viewer: { kind: 'user', userId } },
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
            for (const n of [1, 2, 3]) yield { event: { n } };
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
      contextValue: { viewer: { kind: 'user', userId: 'ann' } },
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
