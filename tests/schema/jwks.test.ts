import { afterAll, afterEach, beforeAll, expect, setSystemTime, test } from 'bun:test';
import { createClient } from 'graphql-ws';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { type Authenticate, createAuthenticate } from '../../src/schema/authenticate.ts';
import { stage } from './support.ts';

/** An identity provider: its public keys, and what goes wrong with them. */
const provider = {
  keys: [] as JWK[],
  fetches: 0,
  answer: null as (() => Response) | null,
};
let server: Bun.Server<undefined>;
let url: string;
const signers: Record<string, CryptoKey> = {};

beforeAll(async () => {
  for (const alg of ['RS256', 'ES256', 'EdDSA']) await addKey(alg, alg);
  server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch() {
      provider.fetches++;
      return provider.answer?.() ?? Response.json({ keys: provider.keys });
    },
  });
  url = `http://127.0.0.1:${server.port}/jwks.json`;
});
afterAll(() => server.stop(true));
afterEach(() => {
  setSystemTime();
  provider.answer = null;
  provider.fetches = 0;
});

async function addKey(alg: string, kid: string): Promise<void> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  signers[kid] = privateKey;
  provider.keys.push({ ...(await exportJWK(publicKey)), kid, alg, use: 'sig' });
}

function token(alg: string, kid = alg, claims: Record<string, unknown> = {}): Promise<string> {
  return new SignJWT({ sub: 'ann', ...claims })
    .setProtectedHeader({ alg, kid })
    .setExpirationTime('20h')
    .sign(signers[kid] as CryptoKey);
}

const codeOf = (authenticate: Authenticate, jwt: string) =>
  authenticate(jwt).then(
    ({ viewer }) => viewer.kind,
    (error) => error.extensions?.code ?? error,
  );

test('RS256, ES256 and EdDSA of the provider are let in, with one fetch', async () => {
  const authenticate = createAuthenticate({ keys: { jwksUrl: url } });
  for (const alg of ['RS256', 'ES256', 'EdDSA']) {
    expect((await authenticate(await token(alg))).viewer).toEqual({ kind: 'user', userId: 'ann' });
  }
  expect(provider.fetches).toBe(1);
});

test('a public key as the secret of HS256, and no signature at all, are refused', async () => {
  const authenticate = createAuthenticate({ keys: { jwksUrl: url } });
  const published = new TextEncoder().encode(JSON.stringify(provider.keys[0]));
  const confused = await new SignJWT({ sub: 'ann', role: 'operator' })
    .setProtectedHeader({ alg: 'HS256', kid: 'RS256' })
    .sign(published);
  const unsigned = `${btoa('{"alg":"none"}')}.${btoa('{"sub":"ann"}')}.`.replaceAll('=', '');
  expect(await codeOf(authenticate, confused)).toBe('UNAUTHENTICATED');
  expect(await codeOf(authenticate, unsigned)).toBe('UNAUTHENTICATED');
});

test('issuer and audience are demanded where they are set', async () => {
  const demanded = { issuer: 'https://id.example', audience: 'pulsegraph' };
  const authenticate = createAuthenticate({ keys: { jwksUrl: url }, ...demanded });
  const claims = { iss: demanded.issuer, aud: ['other', demanded.audience] };
  expect(await codeOf(authenticate, await token('ES256', 'ES256', claims))).toBe('user');
  for (const wrong of [{}, { ...claims, aud: 'other' }, { ...claims, iss: 'https://evil' }]) {
    expect(await codeOf(authenticate, await token('ES256', 'ES256', wrong))).toBe(
      'UNAUTHENTICATED',
    );
  }
});

test('a new key is found, and unknown ones make one fetch in the cooldown', async () => {
  const authenticate = createAuthenticate({ keys: { jwksUrl: url } });
  expect(await codeOf(authenticate, await token('ES256'))).toBe('user');
  await addKey('ES256', 'rotated');
  for (let n = 0; n < 5; n++) {
    expect(await codeOf(authenticate, await token('ES256', 'rotated'))).toBe('UNAUTHENTICATED');
  }
  expect(provider.fetches).toBe(1);
  setSystemTime(Date.now() + 31_000);
  expect(await codeOf(authenticate, await token('ES256', 'rotated'))).toBe('user');
  expect(provider.fetches).toBe(2);
});

test.each([
  ['says 500', () => new Response('no', { status: 500 })],
  ['says no JSON', () => new Response('<html>')],
  ['says no keys', () => Response.json({ keys: 'none' })],
  ['sends elsewhere', () => Response.redirect('http://127.0.0.1:1/', 302)],
])('a provider that %s is UNAVAILABLE, and asked again after a while', async (_, answer) => {
  const warned: unknown[] = [];
  const logger = { warn: (fields: unknown) => warned.push(fields) } as never;
  const authenticate = createAuthenticate({ keys: { jwksUrl: url }, logger });
  provider.answer = answer;
  expect(await codeOf(authenticate, await token('ES256'))).toBe('UNAVAILABLE');
  expect(await codeOf(authenticate, await token('ES256'))).toBe('UNAVAILABLE');
  expect([provider.fetches, warned.length]).toEqual([1, 1]);
  provider.answer = null;
  setSystemTime(Date.now() + 6_000);
  expect(await codeOf(authenticate, await token('ES256'))).toBe('user');
});

test('the keys that were read serve on while the provider is away, for an hour', async () => {
  const authenticate = createAuthenticate({ keys: { jwksUrl: url } });
  const jwt = await token('ES256');
  expect(await codeOf(authenticate, jwt)).toBe('user');
  provider.answer = () => new Response('no', { status: 500 });
  const start = Date.now();
  setSystemTime(start + 11 * 60_000);
  expect(await codeOf(authenticate, jwt)).toBe('user');
  expect(provider.fetches).toBe(2);
  setSystemTime(start + 61 * 60_000);
  expect(await codeOf(authenticate, jwt)).toBe('UNAVAILABLE');
});

test('without keys HTTP answers 503, and a WebSocket is told to come again', async () => {
  const away = 'http://127.0.0.1:1/jwks.json';
  const on = await stage({ authenticate: createAuthenticate({ keys: { jwksUrl: away } }) });
  try {
    const jwt = await token('ES256');
    const response = await fetch(`${on.server.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${jwt}` },
      body: '{"query":"{ me { id } }"}',
    });
    const { errors } = await response.json();
    expect([response.status, errors[0].extensions.code]).toEqual([503, 'UNAVAILABLE']);
    expect(JSON.stringify(errors)).not.toContain('127.0.0.1');
    const closed = Promise.withResolvers<number>();
    const client = createClient({
      url: `${on.server.url.replace('http', 'ws')}/graphql`,
      connectionParams: { Authorization: `Bearer ${jwt}` },
      retryAttempts: 0,
      lazy: false,
      onNonLazyError: () => {},
      on: { closed: (event) => closed.resolve((event as CloseEvent).code) },
    });
    expect(await closed.promise).toBe(1013);
    await client.dispose();
  } finally {
    await on.close();
  }
}, 30_000);
