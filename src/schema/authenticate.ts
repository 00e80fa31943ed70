import { errors, type JWTPayload, jwtVerify } from 'jose';
import { isTopicName } from '../domain/topic.ts';
import type { Viewer } from './context.ts';
import { apiError } from './errors.ts';

/** Who a token names, and until when, epoch ms; null where it never expires. */
export interface Authenticated {
  viewer: Viewer;
  expiresAtMs: number | null;
}

/** @throws UNAUTHENTICATED for a token that is missing, wrong or expired */
export type Authenticate = (token: string | null) => Promise<Authenticated>;

const CLOCK_TOLERANCE_SECONDS = 10;

/** Without tokens whoever may ask is the operator, which only loopback may offer. */
export const everybodyIsOperator: Authenticate = async () => ({
  viewer: { kind: 'operator' },
  expiresAtMs: null,
});

/**
 * Reads the caller off an HS256 token: `sub` is the user, as in the MQTT topic; `"role": "operator"`
 * makes an operator.
 */
export function createAuthenticate(secret: string): Authenticate {
  const key = new TextEncoder().encode(secret);
  return async (token) => {
    if (token === null) throw unauthenticated('send a token: Authorization: Bearer <JWT>');
    const claims = await verify(token, key);
    const expiresAtMs = claims.exp === undefined ? null : claims.exp * 1_000;
    if (claims.role === 'operator') return { viewer: { kind: 'operator' }, expiresAtMs };
    if (claims.role !== undefined && claims.role !== 'user') {
      throw unauthenticated('the token\'s role is neither "user" nor "operator"');
    }
    if (typeof claims.sub !== 'string' || !isTopicName(claims.sub)) {
      throw unauthenticated('the token names no user in `sub`, as in users/{user}/...');
    }
    return { viewer: { kind: 'user', userId: claims.sub }, expiresAtMs };
  };
}

async function verify(token: string, key: Uint8Array): Promise<JWTPayload> {
  try {
    const options = { algorithms: ['HS256'], clockTolerance: CLOCK_TOLERANCE_SECONDS };
    return (await jwtVerify(token, key, options)).payload;
  } catch (error) {
    const expired = error instanceof errors.JWTExpired;
    throw unauthenticated(expired ? 'the token has expired' : 'the token is not valid here');
  }
}

function unauthenticated(message: string) {
  return apiError('UNAUTHENTICATED', message, { http: { status: 401 } });
}

/** The token of an Authorization header or of a WebSocket's connectionParams; null without one. */
export function bearerToken(authorization: unknown): string | null {
  if (typeof authorization !== 'string') return null;
  return /^Bearer +([^\s]+)$/i.exec(authorization.trim())?.[1] ?? null;
}
