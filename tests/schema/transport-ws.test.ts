import { afterAll, beforeAll, expect, test } from 'bun:test';
import { type Client, createClient } from 'graphql-ws';
import { SignJWT } from 'jose';
import { createAuthenticate } from '../../src/schema/authenticate.ts';
import { commitEvent, type Stage, seedAlert, stage, until } from './support.ts';

/** The cases of the protocol graphql-transport-ws, by hand and by its official client. */

let on: Stage;
let url: string;
beforeAll(async () => {
  on = await stage();
  url = `${on.server.url.replace('http', 'ws')}/graphql`;
  await seedAlert(on.sql, { id: 'alert' });
}, 30_000);
afterAll(() => on.close());

interface Message {
  type: string;
  id?: string;
  payload?: { data?: Record<string, unknown>; errors?: unknown[] } & unknown[];
}

/** A socket by hand: what it has received, and how it was closed. */
async function open(to = url) {
  const socket = new WebSocket(to, 'graphql-transport-ws');
  const received: Message[] = [];
  const closed = Promise.withResolvers<{ code: number; reason: string }>();
  socket.onmessage = ({ data }) => received.push(JSON.parse(data));
  socket.onclose = ({ code, reason }) => closed.resolve({ code, reason });
  await new Promise((resolve) => {
    socket.onopen = resolve;
  });
  const send = (message: unknown) =>
    socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  const types = () => received.map(({ type }) => type);
  const acknowledged = async () => {
    send({ type: 'connection_init' });
    await until(() => types().includes('connection_ack'), 20_000);
  };
  return { socket, received, types, closed: closed.promise, send, acknowledged };
}

const FOREVER = { query: 'subscription { alertEvents { seq } }' };

test('4400: a message that is none', async () => {
  for (const message of ['no JSON', '[]', '{"type":"unknown"}', '{"type":"subscribe","id":"1"}']) {
    const { send, closed } = await open();
    send(message);
    expect((await closed).code).toBe(4400);
  }
});

test('4400: a message that only a server sends, which is no error of ours', async () => {
  for (const type of ['next', 'error', 'connection_ack']) {
    const { send, closed, acknowledged } = await open();
    await acknowledged();
    const payload = type === 'error' ? [{ message: 'x' }] : {};
    send({ id: '1', type, payload });
    expect(await closed).toEqual({
      code: 4400,
      reason: `Unexpected message of type ${type} received`,
    });
  }
});

test('4401: a subscription before the connection is acknowledged', async () => {
  const { send, closed } = await open();
  send({ type: 'subscribe', id: '1', payload: FOREVER });
  expect(await closed).toEqual({ code: 4401, reason: 'Unauthorized' });
});

test('4408: a client that says nothing', async () => {
  const { closed } = await open();
  expect(await closed).toEqual({ code: 4408, reason: 'Connection initialisation timeout' });
}, 30_000);

test('4409: an id that is in use', async () => {
  const { send, closed, acknowledged } = await open();
  await acknowledged();
  send({ type: 'subscribe', id: 'same', payload: FOREVER });
  send({ type: 'subscribe', id: 'same', payload: FOREVER });
  expect(await closed).toEqual({ code: 4409, reason: 'Subscriber for same already exists' });
});

test('an id is free again once its operation is over', async () => {
  const { socket, send, received, acknowledged } = await open();
  await acknowledged();
  const ask = { type: 'subscribe', id: 'again', payload: { query: '{ __typename }' } };
  const completed = () => received.filter(({ type }) => type === 'complete').length;
  for (let n = 1; n <= 3; n++) {
    send(ask);
    await until(() => completed() === n, 20_000);
  }
  // Ended by the client: nothing is sent of it any more.
  send({ ...ask, payload: FOREVER });
  send({ type: 'complete', id: 'again' });
  send(ask);
  await until(() => completed() === 4, 20_000);
  expect(received.filter(({ type }) => type === 'next')).toHaveLength(4);
  socket.close();
});

test('4429: a second greeting', async () => {
  const { send, closed, acknowledged } = await open();
  await acknowledged();
  send({ type: 'connection_init' });
  expect(await closed).toEqual({ code: 4429, reason: 'Too many initialisation requests' });
});

test('a ping is answered, before the greeting too, with what it carries', async () => {
  const { socket, send, received, acknowledged } = await open();
  send({ type: 'ping', payload: { n: 1 } });
  await until(() => received.length === 1, 20_000);
  expect(received[0]).toEqual({ type: 'pong', payload: { n: 1 } } as never);
  await acknowledged();
  send({ type: 'pong' });
  send({ type: 'ping' });
  await until(() => received.at(-1)?.type === 'pong', 20_000);
  socket.close();
});

test('a refusal ends its operation alone; completing what is not there is no fault', async () => {
  const { socket, send, received, acknowledged } = await open();
  await acknowledged();
  send({ type: 'complete', id: 'nothing' });
  send({ type: 'subscribe', id: 'wrong', payload: { query: '{ nothing }' } });
  await until(() => received.some(({ type }) => type === 'error'), 20_000);
  const payload = [
    { message: expect.stringContaining('nothing'), extensions: { code: 'BAD_USER_INPUT' } },
  ];
  expect(received.at(-1)).toMatchObject({ id: 'wrong', payload } as never);
  send({ type: 'subscribe', id: 'right', payload: { query: '{ __typename }' } });
  await until(() => received.at(-1)?.type === 'complete', 20_000);
  expect(received.at(-2)).toEqual({
    type: 'next',
    id: 'right',
    payload: { data: { __typename: 'Query' } },
  } as never);
  socket.close();
});

test('variables and the name of the operation go with it', async () => {
  const client = on.client();
  const answers = client.iterate({
    query: 'query A { __typename } query B($id: ID!) { alert(id: $id) { id } }',
    operationName: 'B',
    variables: { id: 'alert' },
  });
  expect((await answers.next()).value).toEqual({ data: { alert: { id: 'alert' } } });
  expect((await answers.next()).done).toBe(true);
});

/** The official client, on tokens that a function gives each time it connects. */
function official(to: string, token: () => string, log: string[]): Client {
  return createClient({
    url: to,
    connectionParams: () => ({ Authorization: `Bearer ${token()}` }),
    retryAttempts: 20,
    retryWait: () => Bun.sleep(50),
    on: { closed: (event) => log.push(String((event as CloseEvent).code)) },
  });
}

const SECRET = 'a secret of more than thirty-two characters';

test('the official client comes back with a new token, and misses nothing', async () => {
  const guarded = await stage({ authenticate: createAuthenticate({ keys: { secret: SECRET } }) });
  const sign = (exp: number) =>
    new SignJWT({ sub: 'user_1', exp })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(new TextEncoder().encode(SECRET));
  const now = Math.floor(Date.now() / 1_000);
  const tokens = [await sign(now + 3), await sign(now + 3_600)];
  const closes: string[] = [];
  const at = `${guarded.server.url.replace('http', 'ws')}/graphql`;
  const client = official(at, () => tokens.shift() ?? '', closes);
  try {
    await seedAlert(guarded.sql, { id: 'alert' });
    const committed: number[] = [];
    const seqs: number[] = [];
    const follow = async () => {
      while (seqs.length < 200) {
        const variables = { after: seqs.at(-1) ?? 0 };
        const query = 'subscription ($after: SafeInt) { alertEvents(after: $after) { seq } }';
        const events = client.iterate<{ alertEvents: { seq: number } }>({ query, variables });
        for await (const { data } of events) {
          const seq = data?.alertEvents.seq ?? 0;
          if (seq > (seqs.at(-1) ?? 0)) seqs.push(seq);
          if (seqs.length >= 200) break;
        }
      }
    };
    const following = follow();
    while (seqs.length < 200) {
      const id = `e${committed.length}`;
      committed.push(await commitEvent(guarded.sql, { id, alertId: 'alert' }));
      await Bun.sleep(20);
    }
    await following;
    expect(seqs).toEqual(committed.slice(0, 200));
    // The second is the client's own, which has nothing more to do.
    expect(closes[0]).toBe('4403');
  } finally {
    await client.dispose();
    await guarded.close();
  }
}, 60_000);

test('the official client gives up on a token that is wrong', async () => {
  const guarded = await stage({ authenticate: createAuthenticate({ keys: { secret: SECRET } }) });
  const closes: string[] = [];
  const at = `${guarded.server.url.replace('http', 'ws')}/graphql`;
  const client = official(at, () => 'nonsense', closes);
  try {
    const end = client.iterate({ query: '{ __typename }' }).next();
    expect(await end.catch((event) => event)).toMatchObject({
      code: 4401,
      reason: 'the token is not valid here',
    });
    expect(closes).toEqual(['4401']);
  } finally {
    await client.dispose();
    await guarded.close();
  }
}, 30_000);

test('a program may bring its token in the header', async () => {
  const guarded = await stage({ authenticate: createAuthenticate({ keys: { secret: SECRET } }) });
  const jwt = await new SignJWT({ sub: 'ann' })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET));
  class WithHeader extends WebSocket {
    constructor(to: string, protocol: string) {
      super(to, { protocols: [protocol], headers: { authorization: `Bearer ${jwt}` } } as never);
    }
  }
  const client = createClient({
    url: `${guarded.server.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WithHeader,
    retryAttempts: 0,
  });
  try {
    const { value } = await client.iterate({ query: '{ me { id } }' }).next();
    expect(value).toEqual({ data: { me: { id: 'ann' } } });
  } finally {
    await client.dispose();
    await guarded.close();
  }
}, 30_000);
