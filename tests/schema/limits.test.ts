import { afterAll, beforeAll, expect, test } from 'bun:test';
import { connect as dial } from 'node:net';
import { SignJWT } from 'jose';
import { createAuthenticate } from '../../src/schema/authenticate.ts';
import { commitEvent, type Stage, seedAlert, seedDevices, stage, until } from './support.ts';

/** What a request may take, and what becomes of one that takes more. */

const logged: { requestId?: string; err?: Error }[] = [];
const record = (fields: (typeof logged)[0]) => logged.push(fields);
const DOCUMENTS = { devices: '{ users { nodes { id } } }', abc: 'query Abc { ingest { lag } }' };
let on: Stage;
let closed: Stage;

beforeAll(async () => {
  on = await stage({
    requestTimeoutMs: 300,
    persisted: { documents: DOCUMENTS, only: false },
    logger: { warn: record, error: record, debug() {} } as never,
  });
  closed = await stage({
    authenticate: createAuthenticate({ keys: { secret: 'x'.repeat(32) } }),
    allowedOrigins: ['https://app.example.org'],
    introspection: false,
  });
  await seedAlert(on.sql, { id: 'alert' });
  await seedDevices(on.sql, [{ deviceId: 'dev_1' }]);
}, 30_000);
afterAll(async () => {
  await on.close();
  await closed.close();
});

/** Not by `rejects`, which runs the loop within the loop: Bun's client reads frames askew then. */
const refusal = (answers: AsyncIterator<unknown>) =>
  answers.next().then(
    () => 'no refusal',
    (error) => error,
  );

const JSON_TYPE = { 'content-type': 'application/json' };
const post = (url: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { ...JSON_TYPE, ...headers },
    body: JSON.stringify(body),
  });

test('a query over its time ends, and its statement with it', async () => {
  const waiting = () => on.sql`SELECT pid FROM pg_stat_activity
    WHERE application_name = 'test-server' AND wait_event_type = 'Lock' AND query LIKE '%alerts%'`;
  await on.sql.begin(async (tx) => {
    await tx`LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE`;
    const answers = Promise.all([
      on.query('{ alerts { nodes { id } } ingest { lag } }'),
      on.query('{ alert(id: "alert") { id } }'),
    ]);
    let seen = 0;
    const deadline = performance.now() + 20_000;
    while (seen < 2 && performance.now() < deadline) seen = (await waiting()).length;
    expect(seen).toBe(2);
    const [list, one] = await answers;
    expect(list.data).toEqual({ alerts: null, ingest: { lag: 5 } });
    for (const { errors } of [list, one]) {
      expect(errors?.[0]?.extensions.code).toBe('TOO_EXPENSIVE');
      expect(errors?.[0]?.message).toContain('not done within the 0.3 s of a request');
    }
    expect(await waiting()).toEqual([] as never);
  });
  expect((await on.query('{ alert(id: "alert") { id } }')).data).toEqual({
    alert: { id: 'alert' },
  });
}, 60_000);

test('statements that wait for a connection of the pool end in time too', async () => {
  await on.sql.begin(async (tx) => {
    await tx`LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE`;
    // The pool of the test has four connections.
    const queries = Array.from({ length: 8 }, () => on.query('{ alert(id: "alert") { id } }'));
    for (const { errors } of await Promise.all(queries)) {
      expect(errors?.[0]?.extensions.code).toBe('TOO_EXPENSIVE');
    }
  });
}, 60_000);

test('the id of a request is the one that it brings, if that is sane', async () => {
  const given = await post(on.server.url, { query: '{ me { id } }' }, { 'x-request-id': 'app-17' });
  expect(given.headers.get('x-request-id')).toBe('app-17');
  for (const odd of ['a b', 'x'.repeat(101), '<script>']) {
    const own = await post(on.server.url, { query: '{ me { id } }' }, { 'x-request-id': odd });
    expect(own.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  }
});

test('an unexpected error names the request in the answer, its header and the log, over each way in', async () => {
  await on.sql`ALTER TABLE alerts RENAME TO alerts_away`;
  try {
    const query = '{ alert(id: "alert") { id } }';
    const response = await post(on.server.url, { query }, { 'x-request-id': 'req-1' });
    const { errors } = await response.json();
    expect(errors[0].extensions).toEqual({ code: 'INTERNAL_SERVER_ERROR', requestId: 'req-1' });
    expect(JSON.stringify(errors)).not.toContain('relation');
    expect(logged.find(({ requestId }) => requestId === 'req-1')?.err?.message).toContain('alerts');
    const socket = on.client().iterate({ query });
    const id = (await socket.next()).value?.errors?.[0]?.extensions?.requestId as string;
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect(logged.some(({ requestId }) => requestId === id)).toBe(true);
  } finally {
    await on.sql`ALTER TABLE alerts_away RENAME TO alerts`;
  }
});

test('a document by its id: in JSON, in the URL, in the way of Apollo, over WebSocket', async () => {
  const { url } = on.server;
  const expected = { data: { ingest: { lag: 5 } } };
  const hash = { extensions: { persistedQuery: { version: 1, sha256Hash: 'abc' } } };
  for (const body of [{ documentId: 'abc' }, { documentId: 'sha256:abc' }, hash]) {
    expect(await (await post(url, body)).json()).toEqual(expected);
    const socket = on.client().iterate({ query: '', ...body });
    expect((await socket.next()).value).toEqual(expected as never);
  }
  expect(await (await fetch(`${url}/graphql?documentId=abc`)).json()).toEqual(expected);
  const unknown = await post(url, { documentId: 'toString' });
  const { errors } = await unknown.json();
  expect([unknown.status, errors[0].extensions.code]).toEqual([400, 'NOT_FOUND']);
  expect(await (await post(url, { query: '{ me { id } }' })).json()).toEqual({
    data: { me: null },
  });
});

test('where only persisted documents are taken, nothing else is', async () => {
  const only = await stage({ persisted: { documents: DOCUMENTS, only: true } });
  try {
    const { url } = only.server;
    expect(await (await post(url, { documentId: 'abc' })).json()).toHaveProperty('data.ingest');
    expect(await (await post(url, { query: DOCUMENTS.abc })).json()).toHaveProperty('data.ingest');
    const message = expect.stringContaining('send the documentId');
    const { errors } = await only.query('{ me { id } }');
    expect(errors?.[0]).toMatchObject({ message, extensions: { code: 'BAD_USER_INPUT' } });
    const socket = only.client().iterate({ query: '{ me { id } }' });
    expect(await refusal(socket)).toMatchObject([{ message }]);
    const page = await fetch(`${url}/graphql`, { headers: { accept: 'text/html' } });
    expect(await page.text()).not.toContain('Pulsegraph');
  } finally {
    await only.close();
  }
});

test('without introspection nothing of the schema is told', async () => {
  const jwt = await new SignJWT({ role: 'operator' })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode('x'.repeat(32)));
  const authorization = { authorization: `Bearer ${jwt}` };
  for (const query of ['{ __schema { types { name } } }', '{ __type(name: "User") { name } }']) {
    const { errors } = await (await post(closed.server.url, { query }, authorization)).json();
    expect(errors[0].message).toContain('introspection');
  }
  const misspelt = await post(closed.server.url, { query: '{ user { id } usrs }' }, authorization);
  expect(await misspelt.text()).not.toContain('Did you mean');
  expect((await on.query('{ usrs }')).errors?.[0]?.message).toContain('Did you mean');
  const page = await fetch(`${closed.server.url}/graphql`, { headers: { accept: 'text/html' } });
  expect(await page.text()).not.toContain('Pulsegraph');
  // Before a token is seen, nothing is said of a document either.
  const stranger = await post(closed.server.url, { query: '{ usrs }' });
  expect([stranger.status, await stranger.text()]).toEqual([
    401,
    expect.not.stringContaining('usrs'),
  ]);
});

test('pages of the allowed origins may ask and read, others may not', async () => {
  const preflight = (url: string, origin: string) =>
    fetch(`${url}/graphql`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type,authorization',
      },
    });
  const welcome = await preflight(closed.server.url, 'https://app.example.org');
  expect(welcome.status).toBe(204);
  expect(welcome.headers.get('access-control-allow-origin')).toBe('https://app.example.org');
  expect(welcome.headers.get('access-control-allow-headers')).toContain('authorization');
  expect(welcome.headers.get('access-control-allow-credentials')).toBeNull();
  const foreign = await preflight(closed.server.url, 'https://evil.example');
  expect(foreign.status).toBe(403);
  expect(foreign.headers.get('access-control-allow-origin')).toBeNull();
  const open = await stage({ allowedOrigins: ['http://localhost:5173'] });
  try {
    const ask = (origin: string, site: string) =>
      post(open.server.url, { query: '{ me { id } }' }, { origin, 'sec-fetch-site': site });
    const ours = await ask('http://localhost:5173', 'same-site');
    expect(ours.status).toBe(200);
    expect(ours.headers.get('access-control-allow-origin')).toBe('http://localhost:5173');
    expect(ours.headers.get('access-control-expose-headers')).toBe('x-request-id');
    expect((await ask('http://localhost:5174', 'same-site')).status).toBe(403);
  } finally {
    await open.close();
  }
});

test('a WebSocket of a page that is not allowed is refused', async () => {
  const upgrade = (origin: string) =>
    fetch(`${closed.server.url}/graphql`, {
      headers: {
        origin,
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-protocol': 'graphql-transport-ws',
      },
    }).then(
      ({ status }) => status,
      () => 101,
    );
  expect(await upgrade('https://evil.example')).toBe(403);
  expect(await upgrade('https://app.example.org')).toBe(101);
});

test('WebSockets and their operations are bounded', async () => {
  const bounded = await stage({ maxWebSockets: 1, maxSubscriptions: 2 });
  try {
    const client = bounded.client();
    const subscribe = () => client.iterate({ query: 'subscription { alertEvents { seq } }' });
    const open = [subscribe(), subscribe()].map((one) => one.next());
    for (const one of open) one.catch(() => {});
    expect(await refusal(subscribe())).toMatchObject([
      { message: expect.stringContaining('at most 2 operations') },
    ]);
    const second = bounded.client().iterate({ query: '{ me { id } }' });
    expect(await refusal(second)).not.toBe('no refusal');
  } finally {
    await bounded.close();
  }
});

test('a client that reads nothing is cut off, and makes room', async () => {
  const stalling = await stage({ stallMs: 500, maxWebSockets: 1 });
  try {
    await seedAlert(stalling.sql, { id: 'alert' });
    const socket = dial(stalling.server.port, '127.0.0.1');
    let text = '';
    let isGone = false;
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
    });
    socket.on('close', () => {
      isGone = true;
    });
    socket.on('error', () => {});
    const send = (message: object) => {
      const body = Buffer.from(JSON.stringify(message));
      const head = Buffer.from([0x81, 0xfe, body.length >> 8, body.length & 0xff, 0, 0, 0, 0]);
      socket.write(Buffer.concat([head, body]));
    };
    socket.write(
      `GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:${stalling.server.port}\r\nConnection: Upgrade\r\n` +
        'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
        'Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n',
    );
    await until(() => text.includes(' 101 '), 20_000);
    send({ type: 'connection_init' });
    await until(() => text.includes('connection_ack'), 20_000);
    const seq = await commitEvent(stalling.sql, { id: 'first', alertId: 'alert' });
    // Far more than the buffers on the way hold.
    await stalling.sql`INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id,
        rule_id, severity, message, time, started_at)
      SELECT nextval('alert_events_seq'), 'e' || i, 'alert', 'FIRED', 'FIRING', 'user_1', 'dev_1',
        'r', 'INFO', repeat('x', 20000), now(), now() FROM generate_series(1, 2000) i`;
    socket.pause();
    const query = `subscription { alertEvents(after: ${seq}) { seq message } }`;
    send({ id: '1', type: 'subscribe', payload: { query } });
    // The one place for a socket is free again.
    const deadline = performance.now() + 20_000;
    let next: unknown = null;
    while (next === null && performance.now() < deadline) {
      const again = stalling.client().iterate({ query: '{ me { id } }' });
      next = await again.next().catch(() => null);
    }
    expect(next).toMatchObject({ value: { data: { me: null } } });
    socket.resume();
    await until(() => isGone, 20_000);
    expect(text.split('"next"').length).toBeLessThan(2_000);
  } finally {
    await stalling.close();
  }
}, 60_000);
