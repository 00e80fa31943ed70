import fc from 'fast-check';
import { damaged, rawBytes, utf8 } from '../bytes.ts';
import type { Fuzz } from '../fuzz.ts';
import { awkwardValue } from '../payloads.ts';
import { bareSocket } from '../sockets.ts';
import type { FuzzStage } from '../stage.ts';

const QUIET_MS = 60;
const ANSWER_MS = 20_000;
/** What a server may say of a request that is not HTTP as it speaks it. */
const OF_THE_PROTOCOL = [501, 505];

const method = fc.oneof(
  {
    arbitrary: fc.constantFrom('GET', 'POST', 'OPTIONS', 'HEAD', 'PUT', 'DELETE', 'TRACE'),
    weight: 9,
  },
  { arbitrary: fc.constantFrom('CONNECT', 'get', 'PATCH', 'PRI', 'GET POST', ''), weight: 1 },
);
const path = fc.oneof(
  fc.constantFrom('/graphql', '/graphql', '/graphql', '/', '/healthz', '/readyz', '/metrics'),
  fc.constantFrom('/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '//', '/graphql/', '*', '/%00'),
  fc.constantFrom('http://victim/graphql', '/graphql?query=%7Bme%7Bid%7D%7D', '/graphql?query=%FF'),
  fc.constantFrom(
    '/graphql?query={__typename}&variables=[',
    `/${'a'.repeat(9_000)}`,
    '/favicon.svg',
  ),
  fc.webPath(),
  fc.tuple(fc.webPath(), fc.webQueryParameters()).map(([p, q]) => `${p}?${q}`),
);
const header = fc.tuple(
  fc.constantFrom(
    ...['accept', 'content-type', 'authorization', 'origin', 'host', 'x-request-id', 'upgrade'],
    ...['connection', 'transfer-encoding', 'content-length', 'expect', 'range', 'cookie', 'te'],
    ...['sec-websocket-key', 'sec-websocket-version', 'sec-websocket-protocol', 'if-none-match'],
    ...['access-control-request-method', 'forwarded', 'x-forwarded-for', 'accept-encoding', 'x y'],
  ),
  fc.oneof(
    fc.constantFrom('application/json', 'text/html', 'text/event-stream', 'websocket', 'Upgrade'),
    fc.constantFrom('chunked', '0', '-1', '1e9', '99999999999999999999', '100-continue', 'close'),
    fc.constantFrom('http://evil.example', 'null', 'bytes=0-', 'multipart/form-data; boundary=a'),
    fc.constantFrom('graphql-transport-ws', '13', 'Bearer ', 'Bearer a.b.c', 'x'.repeat(20_000)),
    fc.constantFrom('gzip, br', 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ2aWN0aW0ifQ.', '*/*;q=0'),
    fc.string({ maxLength: 40 }).map((text) => text.replaceAll(/[\r\n]/g, ' ')),
  ),
);
const body = fc.oneof(
  fc.constantFrom('', '{"query":"{ __typename }"}', '{"query":"{ me { id } }"}', '[]', '0\r\n\r\n'),
  awkwardValue,
  fc.string({ unit: 'binary', maxLength: 60 }),
);

interface Request {
  bytes: Uint8Array;
  isWhole: boolean;
}

const request = fc.record({
  method,
  path,
  headers: fc.array(header, { maxLength: 6 }),
  body,
  isHonest: fc.boolean(),
  token: fc.constantFrom('user' as const, 'device' as const, null),
});

/** Requests, damaged ones and raw bytes, on a socket of their own. */
export function fuzzHttp(stage: FuzzStage): Fuzz {
  const written = request.map(
    ({ method: verb, path: to, headers, body: text, isHonest, token }) => {
      const content = utf8(text);
      const lines = [`${verb} ${to} HTTP/1.1`];
      if (isHonest) lines.push('host: localhost', `content-length: ${content.length}`);
      if (token) lines.push(`authorization: Bearer ${stage.tokens[token]}`);
      const own = isHonest ? headers.filter(([name]) => !FRAMING.includes(name)) : headers;
      lines.push(...own.map(([name, value]) => `${name}: ${value}`));
      return Buffer.concat([utf8(`${lines.join('\r\n')}\r\n\r\n`), content]);
    },
  );
  const input: fc.Arbitrary<Request> = fc.oneof(
    { arbitrary: written.map((bytes) => ({ bytes, isWhole: false })), weight: 5 },
    { arbitrary: damaged(written).map((bytes) => ({ bytes, isWhole: false })), weight: 3 },
    { arbitrary: rawBytes.map((bytes) => ({ bytes, isWhole: false })), weight: 1 },
    { arbitrary: plain(stage), weight: 4 },
  );

  async function run({ bytes, isWhole }: Request): Promise<void> {
    const socket = await bareSocket(stage.httpPort);
    try {
      socket.write(bytes);
      const heard = await socket.hear(isWhole ? ANSWER_MS : QUIET_MS, isAnswered);
      if (isWhole && !heard.bytes.includes('\r\n\r\n')) {
        throw new Error(`no answer to a whole request: ${heard.bytes.toString('latin1')}`);
      }
      stage.scan('HTTP', heard.bytes);
      for (const [, status] of heard.bytes.toString('latin1').matchAll(/^HTTP\/1\.1 (\d{3})/gm)) {
        if (Number(status) >= 500 && !OF_THE_PROTOCOL.includes(Number(status))) {
          throw new Error(`HTTP ${status}: ${heard.bytes.toString('latin1').slice(0, 500)}`);
        }
      }
    } finally {
      socket.destroy();
    }
  }

  return {
    name: 'requests and raw bytes',
    door: 'http',
    isSocket: true,
    share: 25,
    runsInBatch: 25,
    property: (count) =>
      fc.asyncProperty(fc.array(input, { minLength: 1, maxLength: 96 }), async (inputs) => {
        count(inputs.length);
        await Promise.all(inputs.map(run));
        return true;
      }),
  };
}

const FRAMING = ['transfer-encoding', 'content-length', 'host', 'upgrade', 'connection', 'expect'];

/** Whole requests of a form that must be answered. */
function plain(stage: FuzzStage): fc.Arbitrary<Request> {
  return fc
    .tuple(
      fc.constantFrom(
        '/graphql',
        '/',
        '/healthz',
        '/metrics',
        '/nowhere',
        '/%zz',
        '/graphql?query=%',
      ),
      fc.constantFrom('application/json', 'text/plain', 'application/json; charset=utf-16', ''),
      fc.constantFrom('*/*', 'application/graphql-response+json', 'text/html', 'image/png', ''),
      fc.constantFrom('GET', 'POST', 'OPTIONS', 'PUT', 'DELETE'),
      body,
    )
    .map(([to, type, accept, verb, text]) => {
      const content = utf8(text);
      const head = [
        ...[`${verb} ${to} HTTP/1.1`, 'host: localhost', 'connection: close'],
        ...[`content-type: ${type}`, `accept: ${accept}`, `content-length: ${content.length}`],
        `authorization: Bearer ${stage.tokens.user}`,
      ];
      const bytes = Buffer.concat([utf8(`${head.join('\r\n')}\r\n\r\n`), content]);
      return { bytes, isWhole: true };
    });
}

/** Whether the head of an answer is there: of those to come the body is short. */
function isAnswered(bytes: Buffer): boolean {
  const head = bytes.indexOf('\r\n\r\n');
  if (head === -1) return false;
  const [, length] = /^content-length: (\d+)/im.exec(bytes.toString('latin1', 0, head)) ?? [];
  if (length !== undefined) return bytes.length >= head + 4 + Number(length);
  return bytes.subarray(-5).toString() === '0\r\n\r\n' || bytes.length > head + 4;
}
