import { afterAll, beforeAll, expect, test } from 'bun:test';
import { request } from 'node:http';
import { StartError } from '../../src/domain/start-error.ts';
import { foreignRequest } from '../../src/schema/same-origin.ts';
import { type Stage, silent, stage, until } from './support.ts';

let on: Stage;
beforeAll(async () => {
  on = await stage();
}, 30_000);
afterAll(() => on.close());

interface Reply {
  status: number;
  headers: Record<string, unknown>;
  body: string;
}

/** As fetch, but for headers that fetch keeps to itself: Host. */
function ask(
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Reply> {
  const { method = 'GET', headers = {}, body } = options;
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: '127.0.0.1', port: on.server.port, path, method, headers },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        );
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

const JSON_TYPE = { 'content-type': 'application/json' };
const QUERY = JSON.stringify({ query: '{ ingest { lag } }' });
const post = (headers: Record<string, string>) =>
  ask('/graphql', { method: 'POST', headers: { ...JSON_TYPE, ...headers }, body: QUERY });

const upgrade = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'sec-websocket-protocol': 'graphql-transport-ws',
};

test('a Host that is not this machine gets nothing, over HTTP and WebSocket', async () => {
  for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:4000']) {
    const { status, body } = await post({ host });
    expect(status).toBe(403);
    expect(body).toContain('not this machine');
    expect((await ask('/graphql', { headers: { ...upgrade, host } })).status).toBe(403);
    expect((await ask('/metrics', { headers: { host } })).status).toBe(403);
  }
  for (const host of ['localhost', `127.0.0.1:${on.server.port}`, '[::1]:4000', 'LOCALHOST:80']) {
    expect((await post({ host })).status).toBe(200);
  }
});

test('what is wrong with the URL or the document id is the caller’s to mend', async () => {
  for (const query of ['variables=%5B', 'extensions=x', 'variables=%FF']) {
    const { status, body } = await ask(`/graphql?query=%7B__typename%7D&${query}`, {
      headers: { accept: 'application/graphql-response+json' },
    });
    expect(status).toBe(400);
    expect(body).toContain('BAD_USER_INPUT');
  }
  for (const params of [
    { documentId: { toString: null } },
    { extensions: { persistedQuery: { sha256Hash: [{ toString: 1 }] } } },
  ]) {
    const body = JSON.stringify(params);
    const answer = await ask('/graphql', { method: 'POST', headers: JSON_TYPE, body });
    expect(answer.body).toContain('there is no document');
  }
});

test('a request without a Host is foreign', () => {
  expect(foreignRequest(new Headers(), { hasTokens: false, origins: [] })).toContain(
    'not this machine',
  );
});

test('a foreign Origin gets nothing, over HTTP and WebSocket', async () => {
  const own = `http://127.0.0.1:${on.server.port}`;
  for (const origin of [
    'https://evil.example',
    'null',
    'http://localhost:1',
    `${own}0`,
    'file://',
  ]) {
    const { status, body, headers } = await post({ origin });
    expect(status).toBe(403);
    expect(body).toContain('foreign');
    expect(headers['access-control-allow-origin']).toBeUndefined();
    expect((await ask('/graphql', { headers: { ...upgrade, origin } })).status).toBe(403);
  }
  const welcome = await post({ origin: own });
  expect(welcome.status).toBe(200);
  expect(welcome.headers['access-control-allow-origin']).toBeUndefined();
});

test('a foreign page may follow a link, and nothing else', async () => {
  const site = { 'sec-fetch-site': 'cross-site' };
  const query = `/graphql?query=${encodeURIComponent('{ ingest { lag } }')}`;
  expect((await ask(query, { headers: { ...site, 'sec-fetch-mode': 'no-cors' } })).status).toBe(
    403,
  );
  const link = { ...site, 'sec-fetch-mode': 'navigate', accept: 'text/html' };
  expect((await ask('/graphql', { headers: link })).status).toBe(200);
});

test('a mutation needs POST, and POST needs JSON', async () => {
  const mutation = 'mutation { setRules(userId: "csrf", rules: []) { version } }';
  const got = await ask(`/graphql?query=${encodeURIComponent(mutation)}`);
  expect(got.status).toBe(405);
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/graphql']) {
    const { status } = await ask('/graphql', {
      method: 'POST',
      headers: { 'content-type': type },
      body: JSON.stringify({ query: mutation }),
    });
    expect(status).toBe(415);
  }
  expect(await on.sql`SELECT FROM user_configs WHERE user_id = 'csrf'`).toHaveLength(0);
});

test('batches and large bodies are refused', async () => {
  const batch = await ask('/graphql', {
    method: 'POST',
    headers: JSON_TYPE,
    body: `[${QUERY},${QUERY}]`,
  });
  expect(batch.status).toBe(400);
  const large = await ask('/graphql', {
    method: 'POST',
    headers: JSON_TYPE,
    body: JSON.stringify({ query: '{ ingest { lag } }', variables: { x: 'x'.repeat(2 ** 21) } }),
  });
  expect(large.status).toBe(413);
});

test('GraphiQL is served whole: its page loads nothing from elsewhere', async () => {
  const { status, body } = await ask('/graphql', { headers: { accept: 'text/html' } });
  expect(status).toBe(200);
  expect(body).toContain('Pulsegraph');
  expect(body).toContain('subscription AlertEvents');
  expect(body.match(/<script[^>]*\ssrc=|<link[^>]*href="?https?:|unpkg\.com/)).toBeNull();
  const home = await ask('/');
  expect(home.status).toBe(302);
  expect(home.headers.location).toBe('/graphql');
});

test('health, readiness and metrics', async () => {
  expect((await ask('/healthz')).status).toBe(200);
  expect((await ask('/readyz')).status).toBe(200);
  const metrics = await ask('/metrics');
  expect(metrics.body).toContain('pulsegraph_records_total 42');
  expect(metrics.body).toContain('pulsegraph_partition_lag_records{partition="0"} 3');
  expect(metrics.body).toContain('pulsegraph_partition_running{partition="1"} 0');
  expect((await ask('/elsewhere')).status).toBe(404);
  const unready = await stage({ readiness: () => ({ ok: false, reason: 'the log is full' }) });
  try {
    const response = await fetch(`${unready.server.url}/readyz`);
    expect(response.status).toBe(503);
    expect(await response.text()).toContain('the log is full');
  } finally {
    await unready.close();
  }
});

test('a taken port is one clear line', async () => {
  const again = stage({ port: on.server.port });
  await expect(again).rejects.toBeInstanceOf(StartError);
  await expect(again).rejects.toThrow(`PORT ${on.server.port} is taken: `);
});

interface Closed {
  code: number;
  reason: string;
}

/** Opens a socket, says hello, and gives what it was closed with. */
function closeOf(url: string, protocol = 'graphql-transport-ws', greet = true): Promise<Closed> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, protocol);
    socket.onopen = () => greet && socket.send('{"type":"connection_init"}');
    socket.onclose = ({ code, reason }) => resolve({ code, reason });
  });
}

test('a throw in onConnect closes the socket, and says nothing of what is inside', async () => {
  const broken = await stage({
    authenticate: () => {
      throw new Error('secret of the house');
    },
  });
  try {
    expect(await closeOf(broken.server.url)).toEqual({ code: 4500, reason: 'unexpected error' });
  } finally {
    await broken.close();
  }
});

test('another subprotocol is refused before the upgrade', async () => {
  const headers = { ...upgrade, 'sec-websocket-protocol': 'graphql-ws' };
  const { status, body } = await ask('/graphql', { headers });
  expect(status).toBe(400);
  expect(body).toContain('graphql-transport-ws');
});

test('refusals over WebSocket carry their codes, and the socket stays', async () => {
  const client = on.client();
  const codesOf = (query: string) =>
    new Promise<unknown[]>((resolve) => {
      const codes: unknown[] = [];
      client.subscribe(
        { query },
        {
          next: ({ errors }) => {
            codes.push(...(errors ?? []).map(({ extensions }) => extensions?.code));
          },
          error: (errors) =>
            resolve(
              (errors as { extensions?: { code: unknown } }[]).map((e) => e.extensions?.code),
            ),
          complete: () => resolve(codes),
        },
      );
    });
  const stay = client.subscribe(
    { query: 'subscription { alertEvents { seq } }' },
    { next: () => {}, error: () => {}, complete: () => {} },
  );
  let closes = 0;
  client.on('closed', () => closes++);
  expect(await codesOf('subscription { alertEvents {')).toEqual(['BAD_USER_INPUT']);
  expect(await codesOf('{ nothing }')).toEqual(['BAD_USER_INPUT']);
  expect(await codesOf('{ users(first: 0) { nodes { id } } }')).toEqual(['BAD_USER_INPUT']);
  for (const nothing of [
    'subscription { alertEvents @skip(if: true) { seq } }',
    'subscription { ... @include(if: false) { alertEvents { seq } } }',
    'subscription { ...F } fragment F on Subscription { alertEvents @skip(if: true) { seq } }',
  ]) {
    expect(await codesOf(nothing)).toEqual(['BAD_USER_INPUT']);
  }
  expect(await codesOf('subscription { readings(deviceId: "d") { time } }')).toEqual([
    'BAD_USER_INPUT',
  ]);
  expect(closes).toBe(0);
  stay();
});

test('subscriptions over server-sent events too', async () => {
  const response = await fetch(`${on.server.url}/graphql`, {
    method: 'POST',
    headers: { ...JSON_TYPE, accept: 'text/event-stream' },
    body: JSON.stringify({ query: 'subscription { alertEvents(after: -1) { seq } }' }),
  });
  const text = await response.text();
  expect(text).toContain('OUT_OF_RANGE');
});

test('closing tells subscribers to go elsewhere, and waits for none beyond its deadline', async () => {
  const closing = await stage({ closeDeadlineMs: 300, logger: silent });
  const socket = closeOf(closing.server.url);
  const stream = await fetch(`${closing.server.url}/graphql`, {
    method: 'POST',
    headers: { ...JSON_TYPE, accept: 'text/event-stream' },
    body: JSON.stringify({
      query: 'subscription { readings(userId: "u", deviceId: "d") { time } }',
    }),
  });
  let acknowledged = false;
  const client = closing.client();
  client.on('connected', () => {
    acknowledged = true;
  });
  client.subscribe(
    { query: 'subscription { alertEvents { seq } }' },
    { next: () => {}, error: () => {}, complete: () => {} },
  );
  await until(() => acknowledged);
  const begun = performance.now();
  await closing.server.close();
  expect(performance.now() - begun).toBeLessThan(1_500);
  expect((await socket).code).toBe(1001);
  await stream.text().catch(() => {});
  await expect(fetch(`${closing.server.url}/healthz`)).rejects.toThrow();
  await closing.close();
}, 15_000);
