import { expect, test } from 'bun:test';
import {
  GraphQLInt,
  GraphQLNonNull,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
} from 'graphql';
import { handleProtocols, makeHandler } from 'graphql-ws/use/bun';
import { createStream } from '../../src/loadtest/stream.ts';

/** Counts up from `after`, and refuses what is negative. */
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: 'Query', fields: { any: { type: GraphQLString } } }),
  subscription: new GraphQLObjectType({
    name: 'Subscription',
    fields: {
      count: {
        type: new GraphQLNonNull(GraphQLInt),
        args: { after: { type: new GraphQLNonNull(GraphQLInt) } },
        async *subscribe(_, { after }: { after: number }) {
          if (after < 0) throw new Error('after is negative');
          for (let next = after + 1; ; next++) {
            yield { count: next };
            await Bun.sleep(1);
          }
        },
      },
    },
  }),
});

function startServer(port: number) {
  return Bun.serve({
    port,
    hostname: '127.0.0.1',
    fetch(request, server) {
      const chosen = handleProtocols(request.headers.get('sec-websocket-protocol') ?? '');
      const headers = new Headers(chosen ? { 'sec-websocket-protocol': chosen } : undefined);
      return server.upgrade(request, { headers, data: {} as never })
        ? undefined
        : new Response('', { status: 426 });
    },
    websocket: makeHandler({ schema }),
  });
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('waited 10 s in vain');
    await Bun.sleep(5);
  }
}

const COUNT = 'subscription ($after: Int!) { count(after: $after) }';

test('a subscription goes on where it ended, when the server comes back', async () => {
  let server = startServer(0);
  const port = server.port ?? 0;
  const stream = createStream({ url: `http://127.0.0.1:${port}/` });
  const seen: number[] = [];
  try {
    stream.follow<{ count: number }>({
      document: COUNT,
      variables: () => ({ after: seen.at(-1) ?? 0 }),
      onData: ({ count }) => seen.push(count),
    });
    for (let life = 1; life <= 3; life++) {
      const before = seen.length;
      await until(() => seen.length > before + 20);
      expect(stream.reconnects).toBe(life - 1);
      await server.stop(true);
      server = startServer(port);
    }
    await until(() => stream.reconnects === 3);
    expect(seen).toEqual(seen.map((_, index) => index + 1));
  } finally {
    await stream.close();
    await server.stop(true);
  }
}, 30_000);

test('what the server refuses is kept as the fault, and asked again', async () => {
  const server = startServer(0);
  const stream = createStream({ url: `http://127.0.0.1:${server.port}/` });
  let attempts = 0;
  let received = 0;
  try {
    stream.follow({
      document: COUNT,
      variables: () => ({ after: ++attempts < 3 ? -1 : 0 }),
      onData: () => received++,
    });
    await until(() => stream.fault !== null);
    expect(stream.fault).toContain('after is negative');
    await until(() => received > 0);
    expect(attempts).toBe(3);
  } finally {
    await stream.close();
    await server.stop(true);
  }
}, 30_000);
