import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createConnection } from 'node:net';
import { startTestApp, type TestApp } from '../support/app.ts';
import { query } from '../support/app-clients.ts';

let app: TestApp;
let host: string;
beforeAll(async () => {
  app = await startTestApp();
  host = new URL(app.graphqlUrl).host;
}, 60_000);
afterAll(() => app.remove(), 30_000);

interface Answer {
  status: number;
  head: string;
  body: string;
}

/** As written, headers that fetch would not let through included. */
function raw(lines: string[], body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(Number(host.split(':')[1]), '127.0.0.1');
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
      if (text.startsWith('HTTP/1.1 101')) socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => {
      const [head = '', rest = ''] = text.split('\r\n\r\n');
      resolve({ status: Number(head.split(' ')[1]), head: head.toLowerCase(), body: rest });
    });
    const length = body === '' ? [] : [`content-length: ${Buffer.byteLength(body)}`];
    socket.write([...lines, ...length, 'connection: close', '', body].join('\r\n'));
  });
}

const DELETE_RULES = 'mutation { setRules(userId: "u", rules: [], temperatureMax: 1) { version } }';
const post = (headers: string[], body = JSON.stringify({ query: DELETE_RULES })) =>
  raw(['POST /graphql HTTP/1.1', ...headers], body);
const JSON_TYPE = 'content-type: application/json';
const version = async () =>
  (await query(app.graphqlUrl, '{ user(id: "u") { ruleSet { version } } }')).user;

test.each([
  ['a foreign Origin', (h: string) => [`host: ${h}`, 'origin: https://evil.example', JSON_TYPE]],
  [
    'another port of this machine',
    (h: string) => [`host: ${h}`, 'origin: http://127.0.0.1:1', JSON_TYPE],
  ],
  [
    'a page without an origin (a file, a sandbox)',
    (h: string) => [`host: ${h}`, 'origin: null', JSON_TYPE],
  ],
  [
    'a name of the page’s own, bound to this machine',
    (h: string) => [
      `host: evil.example:${h.split(':')[1]}`,
      `origin: http://evil.example:${h.split(':')[1]}`,
      JSON_TYPE,
    ],
  ],
  [
    'a name that only begins like ours',
    (h: string) => [`host: 127.0.0.1.evil.example:${h.split(':')[1]}`, JSON_TYPE],
  ],
  [
    'an Origin that only begins like ours',
    (h: string) => [`host: ${h}`, `origin: http://${h}.evil.example`, JSON_TYPE],
  ],
  [
    'an Origin with ours as its user',
    (h: string) => [`host: ${h}`, `origin: http://${h}@evil.example`, JSON_TYPE],
  ],
  [
    'a cross-site request without Origin',
    (h: string) => [`host: ${h}`, 'sec-fetch-site: cross-site', JSON_TYPE],
  ],
  ['two Hosts', (h: string) => [`host: ${h}`, 'host: evil.example', JSON_TYPE]],
  ['no Host', () => [JSON_TYPE]],
  ['a form', (h: string) => [`host: ${h}`, 'content-type: application/x-www-form-urlencoded']],
  [
    'a form with a file',
    (h: string) => [`host: ${h}`, 'content-type: multipart/form-data; boundary=x'],
  ],
  ['plain text', (h: string) => [`host: ${h}`, 'content-type: text/plain']],
  [
    'plain text that says JSON',
    (h: string) => [`host: ${h}`, 'content-type: text/plain; application/json'],
  ],
  ['no content type', (h: string) => [`host: ${h}`]],
])('a change by %s is refused, and nothing changes', async (_, headers) => {
  const { status, head, body } = await post(headers(host));
  expect(status).toBeGreaterThanOrEqual(400);
  expect(status).toBeLessThan(500);
  expect(head).not.toContain('access-control-allow-origin');
  expect(body).not.toContain('"data"');
  expect(await version()).toBeNull();
});

test('a preflight of a foreign page gets no permission', async () => {
  const { status, head } = await raw([
    'OPTIONS /graphql HTTP/1.1',
    `host: ${host}`,
    'origin: https://evil.example',
    'access-control-request-method: POST',
    'access-control-request-headers: content-type',
  ]);
  expect(status).toBe(403);
  expect(head).not.toContain('access-control-allow');
});

test('a mutation by GET, a link or an image, changes nothing', async () => {
  const path = `/graphql?query=${encodeURIComponent(DELETE_RULES)}`;
  const link = await raw([
    `GET ${path} HTTP/1.1`,
    `host: ${host}`,
    'sec-fetch-site: cross-site',
    'sec-fetch-mode: navigate',
    'accept: application/json',
  ]);
  expect(link.status).toBe(405);
  const image = await raw([
    `GET ${path} HTTP/1.1`,
    `host: ${host}`,
    'sec-fetch-site: cross-site',
    'sec-fetch-mode: no-cors',
  ]);
  expect(image.status).toBe(403);
  expect(await version()).toBeNull();
});

test('the other paths refuse foreign pages too', async () => {
  for (const path of ['/', '/metrics', '/readyz', '/graphql']) {
    const { status } = await raw([
      `GET ${path} HTTP/1.1`,
      `host: ${host}`,
      'origin: https://evil.example',
    ]);
    expect([path, status]).toEqual([path, 403]);
  }
});

test('a WebSocket is for our own pages and for programs', async () => {
  const upgrade = async (...headers: string[]) =>
    (
      await raw([
        'GET /graphql HTTP/1.1',
        'upgrade: websocket',
        'sec-websocket-version: 13',
        'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-protocol: graphql-transport-ws',
        ...headers,
      ])
    ).status;
  expect(await upgrade(`host: ${host}`, 'origin: https://evil.example')).toBe(403);
  expect(await upgrade(`host: ${host}`, 'origin: null')).toBe(403);
  expect(await upgrade(`host: evil.example`, 'origin: http://evil.example')).toBe(403);
  expect(await upgrade(`host: ${host}`, 'origin: http://127.0.0.1:1')).toBe(403);
});

test('our own page and programs are served', async () => {
  const body = JSON.stringify({ query: '{ __typename }' });
  const port = host.split(':')[1];
  for (const headers of [
    [`host: ${host}`],
    [`host: ${host}`, `origin: http://${host}`, 'sec-fetch-site: same-origin'],
    [`host: localhost:${port}`, `origin: http://localhost:${port}`],
    [`host: LOCALHOST:${port}`],
  ]) {
    const { status, body: answer } = await post([...headers, `${JSON_TYPE}; charset=utf-8`], body);
    expect([status, answer]).toEqual([200, expect.stringContaining('Query')]);
  }
});
