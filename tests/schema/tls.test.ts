import { afterAll, expect, test } from 'bun:test';
import { connect, type SecureVersion } from 'node:tls';
import { createAuthority } from '../support/certificates.ts';
import { stage } from './support.ts';

const SLOW = 60_000;
const authority = createAuthority();
const { cert, key } = authority.issue('server');
afterAll(() => authority.remove());

test(
  'HTTP and WebSocket over TLS, and nothing beside it',
  async () => {
    const api = await stage({ tls: { cert, key } });
    try {
      const url = new URL('/graphql', api.server.url);
      expect(url.protocol).toBe('https:');
      const tls = { ca: authority.ca };
      const request = {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"query": "{ __typename }"}',
      };
      const answer = await fetch(url, { ...request, tls });
      expect(await answer.json()).toEqual({ data: { __typename: 'Query' } });
      await expect(fetch(url, request)).rejects.toThrow();
      const plain = fetch(`http://${url.host}/graphql`, request).then(({ ok }) => ok);
      expect(await plain.catch(() => false)).toBeFalse();
      const options = { protocols: ['graphql-transport-ws'], tls };
      const socket = new WebSocket(url.href.replace('https', 'wss'), options as never);
      const first = await new Promise((resolve, reject) => {
        socket.onopen = () => socket.send('{"type":"connection_init"}');
        socket.onmessage = ({ data }) => resolve(data);
        socket.onerror = () => reject(new Error('no WebSocket'));
      });
      expect(first).toBe('{"type":"connection_ack"}');
      socket.close();
    } finally {
      await api.close();
    }
  },
  SLOW,
);

test(
  'with an authority for clients, nobody gets in without a certificate of it',
  async () => {
    const api = await stage({ tls: { cert, key, clientCa: authority.ca } });
    const stranger = createAuthority();
    try {
      const port = Number(new URL(api.server.url).port);
      const own = authority.issue('app');
      for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
        expect(await askTwice(port, version, own)).toEqual(['HTTP/1.1 200 OK', 'HTTP/1.1 200 OK']);
        for (const other of [{}, stranger.issue('app'), authority.issue('late', ['-days', '-1'])]) {
          const answers = await askTwice(port, version, other);
          expect(answers.filter((line) => line.includes('HTTP'))).toEqual([]);
        }
      }
      expect(await socketAnswer(port, { cert: own.cert, key: own.key })).toContain('ack');
      expect(await socketAnswer(port, {})).toBe('refused');
      const { cert: foreign, key: itsKey } = stranger.issue('app');
      expect(await socketAnswer(port, { cert: foreign, key: itsKey })).toBe('refused');
    } finally {
      stranger.remove();
      await api.close();
    }
  },
  SLOW,
);

type Shown = { cert?: string; key?: string };

/** The first line of each answer; the second time with the session that the first one left. */
async function askTwice(port: number, version: SecureVersion, shown: Shown): Promise<string[]> {
  let session: Buffer | undefined;
  const ask = () =>
    new Promise<string>((resolve) => {
      let answer = '';
      const socket = connect(
        {
          ...{ host: '127.0.0.1', port, ca: authority.ca, cert: shown.cert, key: shown.key },
          ...{ session, minVersion: version, maxVersion: version },
        },
        () => socket.write('GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'),
      );
      socket.on('session', (ticket) => {
        session = ticket;
      });
      socket.on('data', (bytes) => {
        answer += bytes;
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(answer.split('\r\n')[0] ?? ''));
    });
  return [await ask(), await ask()];
}

async function socketAnswer(port: number, shown: Shown): Promise<string> {
  const options = { protocols: ['graphql-transport-ws'], tls: { ca: authority.ca, ...shown } };
  const socket = new WebSocket(`wss://127.0.0.1:${port}/graphql`, options as never);
  const answer = await new Promise<string>((resolve) => {
    socket.onopen = () => socket.send('{"type":"connection_init"}');
    socket.onmessage = ({ data }) => resolve(String(data));
    socket.onerror = () => resolve('refused');
    socket.onclose = () => resolve('refused');
  });
  socket.close();
  return answer;
}
