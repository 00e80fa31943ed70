import { errors, type JWTPayload } from 'jose';
import { isTopicName } from '../domain/topic.ts';
import type { Viewer } from './context.ts';
import { apiError } from './errors.ts';
import { createTokenReader, type TokenOptions } from './token-keys.ts';

/** Who a token names, and until when, epoch ms; null where it never expires. */
export interface Authenticated {
  viewer: Viewer;
  expiresAtMs: number | null;
}

/** @throws UNAUTHENTICATED for a missing, wrong or expired token, UNAVAILABLE without keys */
export type Authenticate = (token: string | null) => Promise<Authenticated>;

/** Without tokens whoever may ask is the operator, which only loopback may offer. */
export const everybodyIsOperator: Authenticate = async () => ({
  viewer: { kind: 'operator' },
  expiresAtMs: null,
});

/** Reads the caller off a signed token: `viewerOf` says by which claims. */
export function createAuthenticate(options: TokenOptions): Authenticate {
  const read = createTokenReader(options);
  return async (token) => {
    if (token === null) throw unauthenticated('send a token: Authorization: Bearer <JWT>');
    const claims = await read(token).catch((error: unknown) => {
      throw refusal(error);
    });
    const expiresAtMs = claims.exp === undefined ? null : claims.exp * 1_000;
    return { viewer: viewerOf(claims), expiresAtMs };
  };
}

/**
 * `sub` is the user, as in the MQTT topic. `role` is "user" where it is left out; "operator" needs
 * no `sub`; "device" is the one of that user which the claim `device` names.
 */
function viewerOf({ role = 'user', sub, device }: JWTPayload): Viewer {
  if (role === 'operator') return { kind: 'operator' };
  if (role !== 'user' && role !== 'device') {
    throw unauthenticated('the token\'s role is none of "user", "operator" and "device"');
  }
  if (typeof sub !== 'string' || !isTopicName(sub)) {
    throw unauthenticated('the token names no user in `sub`, as in users/{user}/...');
  }
  if (role === 'user') return { kind: 'user', userId: sub };
  if (typeof device !== 'string' || !isTopicName(device)) {
    throw unauthenticated(
      'the token of a device names none in `device`, as in .../devices/{device}',
    );
  }
  return { kind: 'device', userId: sub, deviceId: device };
}

/** An error of the token's is the caller's; without keys nobody can tell who they are. */
function refusal(error: unknown): unknown {
  if (!(error instanceof errors.JOSEError)) return error;
  if (error instanceof errors.JWTExpired) {
    return unauthenticated('the token has expired', { expired: true });
  }
  return unauthenticated('the token is not valid here');
}

function unauthenticated(message: string, more: object = {}) {
  return apiError('UNAUTHENTICATED', message, { http: { status: 401 }, ...more });
}

/** The token of an Authorization header or of a WebSocket's connectionParams; null without one. */
export function bearerToken(authorization: unknown): string | null {
  if (typeof authorization !== 'string') return null;
  return /^Bearer +([^\s]+)$/i.exec(authorization.trim())?.[1] ?? null;
}
