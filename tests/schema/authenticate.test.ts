import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createClient } from 'graphql-ws';
import { SignJWT } from 'jose';
import { createAuthenticate } from '../../src/schema/authenticate.ts';
import { type Stage, stage } from './support.ts';

const SECRET = 'a secret of more than thirty-two characters';
const key = new TextEncoder().encode(SECRET);
let here: Stage;

beforeAll(async () => {
  here = await stage({ authenticate: createAuthenticate(SECRET) });
  await here.sql`INSERT INTO user_configs (user_id, rules) VALUES ('ann', '[]'), ('bob', '[]')`;
});
afterAll(() => here.close());

function token(claims: Record<string, unknown>, expires = '1h', with_ = key): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime(expires)
    .sign(with_);
}

async function ask(query: string, jwt: string | null) {
  const response = await fetch(`${here.server.url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(jwt === null ? {} : { authorization: `Bearer ${jwt}` }),
    },
    body: JSON.stringify({ query }),
  });
  return { status: response.status, body: await response.json() };
}

test('no token, a foreign one, an expired one and an unsigned one are UNAUTHENTICATED', async () => {
  const unsigned = `${btoa('{"alg":"none"}')}.${btoa('{"role":"operator"}')}.`.replaceAll('=', '');
  const foreign = await token({ role: 'operator' }, '1h', new TextEncoder().encode('x'.repeat(32)));
  const expired = await token({ sub: 'ann' }, '-1m');
  const nobody = await token({ role: 'king', sub: 'ann' });
  for (const jwt of [null, unsigned, foreign, expired, nobody]) {
    const { status, body } = await ask('{ me { id } }', jwt);
    expect(status).toBe(401);
    expect(body.errors[0].extensions.code).toBe('UNAUTHENTICATED');
  }
});

test('a user sees themselves and nobody else; an operator sees everybody', async () => {
  const query = '{ me { id } ann: user(id: "ann") { id } bob: user(id: "bob") { id } }';
  const ann = await ask(query, await token({ sub: 'ann' }));
  expect(ann.body.data).toEqual({ me: { id: 'ann' }, ann: { id: 'ann' }, bob: null });
  const operator = await ask(query, await token({ role: 'operator' }));
  expect(operator.body.data).toEqual({ me: null, ann: { id: 'ann' }, bob: { id: 'bob' } });
  const list = await ask('{ users { edges { node { id } } } }', await token({ sub: 'ann' }));
  expect(list.body.errors[0].extensions.code).toBe('FORBIDDEN');
});

/** How the server ends a socket that says this of itself. */
async function closeCode(connectionParams: Record<string, unknown>): Promise<number> {
  const closed = Promise.withResolvers<number>();
  const client = createClient({
    url: `${here.server.url.replace('http', 'ws')}/graphql`,
    connectionParams,
    retryAttempts: 0,
    lazy: false,
    onNonLazyError: () => {},
    on: { closed: (event) => closed.resolve((event as CloseEvent).code) },
  });
  const code = await closed.promise;
  await client.dispose();
  return code;
}

test('a WebSocket says who it is in connectionParams, and ends with its token', async () => {
  expect(await closeCode({})).toBe(4401);
  expect(await closeCode({ Authorization: 'Bearer nonsense' })).toBe(4401);
  // Ten seconds of tolerance for clocks: this one is let in, and past its end already.
  expect(await closeCode({ Authorization: `Bearer ${await token({ sub: 'ann' }, '-1s')}` })).toBe(
    4401,
  );
});

test("over a WebSocket another user's events do not exist", async () => {
  const client = createClient({
    url: `${here.server.url.replace('http', 'ws')}/graphql`,
    connectionParams: { Authorization: `Bearer ${await token({ sub: 'ann' })}` },
    retryAttempts: 0,
  });
  try {
    const events = client.iterate({ query: 'subscription { alertEvents(userId: "bob") { seq } }' });
    const first = await events.next();
    expect(first.value?.errors?.[0]?.extensions?.code).toBe('NOT_FOUND');
  } finally {
    await client.dispose();
  }
});

test('any page may ask, as it needs a token to be heard', async () => {
  const response = await fetch(`${here.server.url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      origin: 'https://app.example.org',
      authorization: `Bearer ${await token({ sub: 'ann' })}`,
    },
    body: '{"query":"{ me { id } }"}',
  });
  expect(response.headers.get('access-control-allow-origin')).toBe('https://app.example.org');
  expect(response.headers.get('access-control-allow-credentials')).toBeNull();
  expect(await response.json()).toEqual({ data: { me: { id: 'ann' } } });
});

test('a stranger does not learn why the process is not ready', async () => {
  const reason = 'partition 3 is WAITING: password authentication failed for user "pulse"';
  const unready = await stage({
    authenticate: createAuthenticate(SECRET),
    readiness: () => ({ ok: false, reason }),
  });
  try {
    const response = await fetch(`${unready.server.url}/readyz`);
    expect(response.status).toBe(503);
    expect(await response.text()).toBe('not ready\n');
  } finally {
    await unready.close();
  }
});
