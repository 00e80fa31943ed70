import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { damaged, rawBytes, utf8 } from '../bytes.ts';
import { requests } from '../documents.ts';
import { type Fuzz, within } from '../fuzz.ts';
import { awkwardValue } from '../payloads.ts';
import { bareSocket } from '../sockets.ts';
import type { FuzzStage } from '../stage.ts';
import { judge } from './graphql.ts';

const QUIET_MS = 60;
const HANDSHAKE_MS = 20_000;
/** What a server closes with that did not expect this: of WebSocket, and our own. */
const UNEXPECTED = [1011, 4500];

interface Session {
  /** With a right CONNECTION_INIT before all else, or without one. */
  begins: 'user' | 'device' | 'expired' | null;
  messages: (string | Uint8Array)[];
}

const types = [
  ...['subscribe', 'subscribe', 'subscribe', 'complete', 'ping', 'pong', 'connection_init'],
  ...['next', 'error', 'connection_ack', 'start', '', '__proto__'],
];

/** Messages of graphql-transport-ws, in any order, damaged, and other things. */
export function fuzzMessages(stage: FuzzStage): Fuzz {
  const request = requests(stage.alertId);
  const id = fc.constantFrom('"1"', '"2"', '"3"', '""', '1', 'null', `"${'x'.repeat(2_000)}"`);
  const message = fc
    .tuple(fc.constantFrom(...types), id, fc.oneof({ arbitrary: request, weight: 9 }, awkwardValue))
    .map(([type, own, payload]) => `{"id":${own},"type":"${type}","payload":${payload}}`);
  // Most of a session is right, or its first messages end it and the others are put to nobody.
  const operation = fc
    .tuple(fc.nat(99), request)
    .map(([own, payload]) => `{"id":"op${own}","type":"subscribe","payload":${payload}}`);
  const session: fc.Arbitrary<Session> = fc.record({
    begins: fc.oneof(
      { arbitrary: fc.constant('user' as const), weight: 6 },
      { arbitrary: fc.constant('device' as const), weight: 2 },
      { arbitrary: fc.constantFrom('expired' as const, null), weight: 1 },
    ),
    messages: fc.array(
      fc.oneof(
        { arbitrary: operation, weight: 40 },
        { arbitrary: message, weight: 3 },
        { arbitrary: damaged(message.map(utf8)).map((b) => Buffer.from(b).toString()), weight: 1 },
        { arbitrary: rawBytes, weight: 1 },
        { arbitrary: fc.constantFrom('{"type":"ping"}', '{"type":"pong"}', '[]', ''), weight: 1 },
      ),
      { minLength: 1, maxLength: 10 },
    ),
  });

  async function run({ begins, messages }: Session): Promise<number> {
    const url = stage.graphqlUrl.replace('http', 'ws');
    const socket = new WebSocket(url, 'graphql-transport-ws');
    const heard: string[] = [];
    const opened = Promise.withResolvers<void>();
    let wake = () => {};
    let closed: number | null = null;
    socket.onopen = () => opened.resolve();
    socket.onerror = () => opened.reject(new Error('no WebSocket'));
    socket.onmessage = ({ data }) => {
      heard.push(String(data));
      wake();
    };
    socket.onclose = ({ code }) => {
      closed = code;
      wake();
    };
    await within('a WebSocket', opened.promise);
    let put = 0;
    try {
      if (begins !== null) {
        const payload = { Authorization: `Bearer ${stage.tokens[begins]}` };
        const answered = new Promise<void>((resolve) => {
          wake = resolve;
        });
        socket.send(JSON.stringify({ type: 'connection_init', payload }));
        // What comes before its answer would end the session.
        await within('the answer to connection_init', answered);
      }
      for (const each of messages) {
        if (closed !== null) break;
        socket.send(typeof each === 'string' ? each : Buffer.from(each));
        put++;
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      while (closed === null) {
        const isWoken = await new Promise<boolean>((resolve) => {
          wake = () => resolve(true);
          setTimeout(() => resolve(false), QUIET_MS);
        });
        if (!isWoken) break;
      }
      if (closed !== null && UNEXPECTED.includes(closed)) throw new Error(`closed with ${closed}`);
      for (const text of heard) {
        stage.scan('WebSocket', text);
        judge('WebSocket', 200, text);
      }
      return put;
    } finally {
      socket.onopen = socket.onerror = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  return {
    name: 'graphql-transport-ws messages',
    door: 'ws',
    isSocket: true,
    share: 12,
    runsInBatch: 25,
    property: (count) =>
      fc.asyncProperty(fc.array(session, { minLength: 1, maxLength: 24 }), async (sessions) => {
        const put = await Promise.all(sessions.map(run));
        count(put.reduce((sum, each) => sum + each, 0));
        return true;
      }),
  };
}

interface Frame {
  /** FIN, RSV1-3 and the opcode. */
  first: number;
  isMasked: boolean;
  /** What the header says of the length; null says the truth. */
  claims: number | null;
  body: Uint8Array;
}

function encodeFrame({ first, isMasked, claims, body }: Frame): Uint8Array {
  const length = claims ?? body.length;
  const mask = isMasked ? 0x80 : 0;
  const head: number[] = [first];
  if (length < 126) head.push(mask | length);
  else if (length < 0x10000) head.push(mask | 126, length >> 8, length & 0xff);
  else {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt(length));
    head.push(mask | 127, ...bytes);
  }
  const key = isMasked ? [1, 2, 3, 4] : [];
  const masked = body.map((byte, i) => (isMasked ? byte ^ (key[i % 4] as number) : byte));
  return Buffer.concat([Uint8Array.from([...head, ...key]), masked]);
}

/** Frames as RFC 6455 has them and has not, floods of pings, and raw bytes after the handshake. */
export function fuzzFrames(stage: FuzzStage): Fuzz {
  const init = JSON.stringify({
    type: 'connection_init',
    payload: { Authorization: `Bearer ${stage.tokens.user}` },
  });
  const body = fc.oneof(
    fc.constantFrom(...[init, '{"type":"ping"}', ''].map(utf8)),
    requests(stage.alertId).map((payload) =>
      utf8(`{"id":"1","type":"subscribe","payload":${payload}}`),
    ),
    fc.constantFrom([3, 0xe8], [0x0f, 0xa0], [0, 0], [3]).map((code) => Uint8Array.from(code)),
    rawBytes,
  );
  const frame = fc.record({
    first: fc.oneof(
      { arbitrary: fc.constantFrom(0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8a, 0x88), weight: 8 },
      { arbitrary: fc.nat(255), weight: 1 },
    ),
    isMasked: fc.oneof({ arbitrary: fc.constant(true), weight: 9 }, fc.boolean()),
    claims: fc.option(fc.constantFrom(0, 125, 126, 65_535, 65_536, 2 ** 31, 2 ** 52), {
      freq: 12,
    }),
    body,
  });
  const frames = frame.map(encodeFrame);
  const ping = encodeFrame({ first: 0x89, isMasked: true, claims: null, body: utf8('x') });
  const input = fc.oneof(
    { arbitrary: frames.map((bytes) => ({ bytes, inputs: 1 })), weight: 12 },
    { arbitrary: damaged(frames).map((bytes) => ({ bytes, inputs: 1 })), weight: 4 },
    { arbitrary: rawBytes.map((bytes) => ({ bytes, inputs: 1 })), weight: 1 },
    {
      arbitrary: fc
        .integer({ min: 50, max: 500 })
        // A flood counts once: each of its frames is the same.
        .map((n) => ({ bytes: Buffer.concat(Array(n).fill(ping)), inputs: 1 })),
      weight: 1,
    },
  );

  async function run(inputs: { bytes: Uint8Array; inputs: number }[]): Promise<number> {
    const socket = await bareSocket(stage.httpPort);
    try {
      const key = randomBytes(16).toString('base64');
      const lines = [
        ...[
          'GET /graphql HTTP/1.1',
          'host: localhost',
          'upgrade: websocket',
          'connection: upgrade',
        ],
        ...[`sec-websocket-key: ${key}`, 'sec-websocket-version: 13'],
        'sec-websocket-protocol: graphql-transport-ws',
      ];
      socket.write(utf8(`${lines.join('\r\n')}\r\n\r\n`));
      const hello = await socket.hear(HANDSHAKE_MS, (b) => b.includes('\r\n\r\n'));
      if (!hello.bytes.includes('101 Switching')) throw new Error(`no WebSocket: ${hello.bytes}`);
      let put = 0;
      for (const { bytes, inputs: each } of inputs) {
        if (!socket.write(bytes)) break;
        put += each;
        await socket.hear(0);
      }
      const { bytes } = await socket.hear(QUIET_MS);
      stage.scan('WebSocket frames', bytes);
      judge('WebSocket frames', 200, bytes.toString('latin1'));
      return put;
    } finally {
      socket.destroy();
    }
  }

  return {
    name: 'WebSocket frames and raw bytes',
    door: 'ws',
    isSocket: true,
    share: 12,
    runsInBatch: 25,
    property: (count) =>
      fc.asyncProperty(
        fc.array(fc.array(input, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 12 }),
        async (connections) => {
          const put = await Promise.all(connections.map(run));
          count(put.reduce((sum, each) => sum + each, 0));
          return true;
        },
      ),
  };
}
