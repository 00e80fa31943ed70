import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createClient } from 'graphql-ws';
import { SignJWT } from 'jose';
import { createAuthenticate } from '../../src/schema/authenticate.ts';
import { type Stage, stage } from './support.ts';

const SECRET = 'a secret of more than thirty-two characters';
const key = new TextEncoder().encode(SECRET);
let here: Stage;

beforeAll(async () => {
  here = await stage({ authenticate: createAuthenticate({ keys: { secret: SECRET } }) });
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
  const expiring = await token({ sub: 'ann' }, '-1s');
  expect(await closeCode({ Authorization: `Bearer ${expiring}` })).toBe(4403);
  const expired = await token({ sub: 'ann' }, '-1m');
  expect(await closeCode({ Authorization: `Bearer ${expired}` })).toBe(4403);
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
    authenticate: createAuthenticate({ keys: { secret: SECRET } }),
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

/** An event stream of a subscription, read to its end or until it is left. */
function stream(server: string, query: string, jwt: string, signal?: AbortSignal) {
  return fetch(`${server}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${jwt}`,
    },
    body: JSON.stringify({ query }),
    ...(signal ? { signal } : {}),
  });
}

test('an event stream ends with its token, and says so', async () => {
  for (const query of [
    'subscription { alertEvents { seq } }',
    'subscription { readings(deviceId: "d") { time } }',
  ]) {
    const exp = Math.floor(Date.now() / 1_000) + 2;
    const jwt = await new SignJWT({ sub: 'ann', exp })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(key);
    const text = await (await stream(here.server.url, query, jwt)).text();
    expect(Date.now()).toBeGreaterThanOrEqual(exp * 1_000);
    expect(text.match(/UNAUTHENTICATED/g)).toHaveLength(1);
    expect(text).toContain('event: complete');
  }
}, 15_000);

test('event streams are bounded, and one that is left makes room', async () => {
  const bounded = await stage({
    authenticate: createAuthenticate({ keys: { secret: SECRET } }),
    maxStreams: 2,
  });
  try {
    const query = 'subscription { readings(deviceId: "d") { time } }';
    const jwt = await token({ sub: 'ann' });
    const left = new AbortController();
    const open = [
      await stream(bounded.server.url, query, jwt, left.signal),
      await stream(bounded.server.url, query, jwt),
    ];
    expect(open.map(({ status }) => status)).toEqual([200, 200]);
    const refused = await stream(bounded.server.url, query, jwt);
    expect(await refused.text()).toContain('UNAVAILABLE');
    left.abort();
    const deadline = Date.now() + 3_000;
    const isRefused = async () => {
      const gone = new AbortController();
      const again = await stream(bounded.server.url, query, jwt, gone.signal);
      const first = await Promise.race([again.text(), Bun.sleep(300).then(() => '')]);
      gone.abort();
      return first.includes('UNAVAILABLE');
    };
    let full = await isRefused();
    while (full && Date.now() < deadline) full = await isRefused();
    expect(full).toBe(false);
  } finally {
    await bounded.close();
  }
}, 15_000);

test('a request whose Host makes no URL is the caller’s fault', async () => {
  for (const host of ['', 'http://evil.example']) {
    const socket = await Bun.connect({
      hostname: '127.0.0.1',
      port: here.server.port,
      socket: {
        data(_socket, bytes) {
          answered.resolve(bytes.toString());
        },
      },
    });
    const answered = Promise.withResolvers<string>();
    socket.write(`GET /graphql HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    expect(await answered.promise).toStartWith('HTTP/1.1 400 ');
    socket.end();
  }
});
