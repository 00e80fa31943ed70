import { afterAll, expect, test } from 'bun:test';
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
