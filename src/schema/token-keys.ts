import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwtVerify,
} from 'jose';
import type { Logger } from 'pino';
import { apiError } from './errors.ts';

export interface TokenOptions {
  /** Of HS256; or where the public keys of RS256, ES256 and EdDSA are. */
  keys: { secret: string } | { jwksUrl: string };
  /** Demanded of the claims `iss` and `aud`; null takes any. */
  issuer?: string | null;
  audience?: string | null;
  logger?: Pick<Logger, 'warn'>;
}

/** @throws JOSEError for a token that is not valid, UNAVAILABLE where its keys can't be had */
export type TokenReader = (token: string) => Promise<JWTPayload>;

const CLOCK_TOLERANCE_SECONDS = 10;

export function createTokenReader(options: TokenOptions): TokenReader {
  const { keys, issuer, audience } = options;
  const demanded: JWTVerifyOptions = {
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    ...(issuer ? { issuer } : {}),
    ...(audience ? { audience } : {}),
  };
  if ('secret' in keys) {
    const key = new TextEncoder().encode(keys.secret);
    const hmac = { ...demanded, algorithms: ['HS256'] };
    return async (token) => (await jwtVerify(token, key, hmac)).payload;
  }
  const publicKey = createKeyFinder(keys.jwksUrl, options.logger);
  const asymmetric = { ...demanded, algorithms: ['RS256', 'ES256', 'EdDSA'] };
  return async (token) => (await jwtVerify(token, publicKey, asymmetric)).payload;
}

const FETCH_TIMEOUT_MS = 5_000;
/** Keys are read anew after this time: so long a key that was taken back is still trusted. */
const MAX_AGE_MS = 10 * 60_000;
/** An unknown key makes one fetch in this time, whatever tokens strangers send. */
const COOLDOWN_MS = 30_000;
/** So long after a fetch that failed nobody waits for another. */
const RETRY_MS = 5_000;
/** The last known keys serve on while their server is away, for so long. */
const MAX_STALE_MS = 60 * 60_000;

function createKeyFinder(url: string, logger?: Pick<Logger, 'warn'>): JWTVerifyGetKey {
  const remote = createRemoteJWKSet(new URL(url), {
    timeoutDuration: FETCH_TIMEOUT_MS,
    cacheMaxAge: MAX_AGE_MS,
    cooldownDuration: COOLDOWN_MS,
  });
  let knownAt = Number.NEGATIVE_INFINITY;
  let failedAt = Number.NEGATIVE_INFINITY;

  const lastKnown: JWTVerifyGetKey = async (header, token) => {
    const known = remote.jwks();
    if (known !== undefined && Date.now() - knownAt < MAX_STALE_MS) {
      return await createLocalJWKSet(known)(header, token);
    }
    throw apiError('UNAVAILABLE', 'the keys of tokens can not be read now; try again in a moment', {
      http: { status: 503 },
    });
  };

  return async (header, token) => {
    if (Date.now() - failedAt < RETRY_MS) return await lastKnown(header, token);
    try {
      const key = await remote(header, token);
      if (remote.fresh) knownAt = Date.now();
      return key;
    } catch (error) {
      if (isOfToken(error)) throw error;
      failedAt = Date.now();
      logger?.warn(
        { err: error, url },
        'AUTH_JWKS_URL can not be read: the last known keys serve on',
      );
      return await lastKnown(header, token);
    }
  };
}

/** Whether the set was read, and the token has no key in it. */
function isOfToken(error: unknown): boolean {
  return (
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys ||
    error instanceof errors.JOSENotSupported
  );
}
