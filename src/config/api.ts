/** Who may ask the API, and for how much. */
import { authorityFaults, certificateFaults } from './certificate.ts';
import {
  address,
  documentsFile,
  duration,
  integer,
  isLoopback,
  oneOf,
  origins,
  pemFile,
  secret,
  text,
  webUrl,
} from './kinds.ts';
import { setting } from './setting.ts';

const anyText = text('text', /^/, 'write any text');

export const API_SETTINGS = {
  authJwtSecret: setting(
    'AUTH_JWT_SECRET',
    secret,
    null,
    'Secret of the HS256 tokens that HTTP and WebSocket then ask for: `sub` is the user; `"role"` ' +
      'is `"user"` where it is left out, `"operator"`, or `"device"` with the name in `"device"`. ' +
      'Neither this nor `AUTH_JWKS_URL`: only loopback may ask, as operator.',
  ),
  authJwksUrl: setting(
    'AUTH_JWKS_URL',
    webUrl,
    null,
    'In place of a secret: the public keys of an identity provider, whose RS256, ES256 and EdDSA ' +
      'tokens are then asked for.',
  ),
  authIssuer: setting('AUTH_ISSUER', anyText, null, 'The `iss` that a token has to name.'),
  authAudience: setting(
    'AUTH_AUDIENCE',
    anyText,
    null,
    'The `aud` that a token has to name: without it a token that the provider made for another ' +
      'service is good here too.',
  ),
  allowedOrigins: setting(
    'ALLOWED_ORIGINS',
    origins,
    null,
    'Web pages that may ask, besides GraphiQL here. Unset: any with tokens, as no browser adds one ' +
      'by itself; none without.',
  ),
  httpsCert: setting(
    'HTTPS_CERT',
    pemFile,
    null,
    'Certificate of the API, with those between it and the root: it is served over TLS then, and only ' +
      'so. Read at the start.',
  ),
  httpsKey: setting('HTTPS_KEY', pemFile, null, 'The key of that certificate.'),
  httpsClientCa: setting(
    'HTTPS_CLIENT_CA',
    pemFile,
    null,
    'Whoever connects to the API has to show a certificate that is signed by one of these, also for ' +
      'health checks and metrics. Who they are is still said by their token.',
  ),
  introspection: setting(
    'INTROSPECTION',
    oneOf('on', 'off'),
    'on',
    '`off` serves neither the schema nor GraphiQL, and refusals suggest no names.',
  ),
  persistedDocuments: setting(
    'PERSISTED_DOCUMENTS',
    documentsFile,
    null,
    'Documents by their ids: a request may send `documentId` in place of `query`.',
  ),
  persistedOnly: setting(
    'PERSISTED_ONLY',
    oneOf('on', 'off'),
    'off',
    '`on` takes no other documents than those; GraphiQL is off then.',
  ),
  requestTimeoutMs: setting(
    'REQUEST_TIMEOUT',
    duration('1s', '60s'),
    '30s',
    'A query that takes longer ends with an error, and what it asks of the database is cancelled.',
  ),
  maxWebSockets: setting(
    'MAX_WEBSOCKETS',
    integer(1, 1_000_000),
    '5000',
    'WebSockets open at once; the next one gets 503.',
  ),
  maxSubscriptions: setting(
    'MAX_SUBSCRIPTIONS',
    integer(1, 10_000),
    '100',
    'Operations at once on one WebSocket.',
  ),
} as const;

interface ApiConfig {
  authJwtSecret: string | null;
  authJwksUrl: string | null;
  authIssuer: string | null;
  authAudience: string | null;
  allowedOrigins: '*' | string[] | null;
  httpsCert: string | null;
  httpsKey: string | null;
  httpsClientCa: string | null;
  persistedDocuments: Record<string, string> | null;
  persistedOnly: 'on' | 'off';
}

/** Whether the API asks for tokens. */
export function hasTokens(config: Pick<ApiConfig, 'authJwtSecret' | 'authJwksUrl'>): boolean {
  return config.authJwtSecret !== null || config.authJwksUrl !== null;
}

/** Settings that are right one by one and wrong together. */
export function apiContradictions(config: ApiConfig): string[] {
  const faults: string[] = [];
  if (config.authJwtSecret !== null && config.authJwksUrl !== null) {
    faults.push('AUTH_JWT_SECRET, AUTH_JWKS_URL: tokens are signed one way; set one of the two');
  }
  if (!hasTokens(config)) {
    for (const [name, value] of [
      ['AUTH_ISSUER', config.authIssuer],
      ['AUTH_AUDIENCE', config.authAudience],
    ]) {
      if (value !== null) {
        faults.push(
          `${name}: nobody is asked for a token; set AUTH_JWT_SECRET or AUTH_JWKS_URL too`,
        );
      }
    }
    if (config.allowedOrigins === '*') {
      faults.push(
        'ALLOWED_ORIGINS: "*" would let any web page act as the operator; name origins, or set ' +
          'AUTH_JWT_SECRET or AUTH_JWKS_URL',
      );
    }
  }
  if (config.persistedOnly === 'on' && config.persistedDocuments === null) {
    faults.push('PERSISTED_ONLY: "on" leaves nothing to ask; set PERSISTED_DOCUMENTS too');
  }
  const { httpsCert: cert, httpsKey: key, httpsClientCa } = config;
  if (httpsClientCa !== null && cert === null) {
    faults.push('HTTPS_CLIENT_CA: goes with TLS; set HTTPS_CERT and HTTPS_KEY too');
  }
  return [
    ...faults,
    ...certificateFaults('HTTPS', { cert, key }),
    ...authorityFaults('HTTPS_CLIENT_CA', httpsClientCa),
  ];
}

/** Whoever may ask without a token is the operator: so only this machine may. */
export function openDoor(env: Record<string, string | undefined>, ownHost: string): string[] {
  const host = env.HOST || ownHost;
  const isGuarded = env.AUTH_JWT_SECRET || env.AUTH_JWKS_URL;
  if (isGuarded || isLoopback(host) || !address.schema.safeParse(host).success) return [];
  return [
    `HOST: "${host}" is not a loopback address, and there is no authentication; write 127.0.0.1, ` +
      'or set AUTH_JWT_SECRET or AUTH_JWKS_URL',
  ];
}
