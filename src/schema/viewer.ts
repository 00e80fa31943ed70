/** Who may see what, all of it: resolvers ask here. What the caller may not see does not exist. */
import type { DeviceKey } from '../store/devices-by-key.ts';
import type { Context } from './context.ts';
import { apiError, badArgument } from './errors.ts';

/**
 * Whether the caller may see what belongs to this user; null is what belongs to all of them. A
 * device may not: not even its own user's.
 */
export function maySee({ viewer }: Context, userId: string | null): boolean {
  return viewer.kind === 'operator' || (viewer.kind === 'user' && viewer.userId === userId);
}

/** The user that the caller is; null for an operator and for a device. */
export function ownUser({ viewer }: Context): string | null {
  return viewer.kind === 'user' ? viewer.userId : null;
}

/** Who did it, as histories name them. */
export function actorOf(context: Context): string {
  return ownUser(context) ?? 'operator';
}

/** @throws FORBIDDEN for anybody but an operator */
export function requireOperator({ viewer }: Context): void {
  if (viewer.kind !== 'operator') throw apiError('FORBIDDEN', 'only an operator may see this');
}

/**
 * The user that a mutation or subscription is about: the one named, else the caller.
 *
 * @throws NOT_FOUND for another user's name and for a device, BAD_USER_INPUT where an operator names
 *   nobody
 */
export function subjectUser(context: Context, userId: string | null | undefined): string {
  const subject = subjectUserOrAll(context, userId);
  if (subject === null) throw badArgument('userId', 'an operator has to name the user');
  return subject;
}

/** As `subjectUser`; null, for all users, where an operator names nobody. */
export function subjectUserOrAll(
  context: Context,
  userId: string | null | undefined,
): string | null {
  const subject = userId ?? ownUser(context);
  if (maySee(context, subject)) return subject;
  const named = subject === null ? 'for a device' : JSON.stringify(subject);
  throw apiError('NOT_FOUND', `there is no user ${named}`);
}

/**
 * The device that a mutation or subscription is about: a device's own, or one of the user's. It may
 * have sent nothing yet.
 *
 * @throws NOT_FOUND for what is another's, BAD_USER_INPUT where an operator names no user
 */
export function subjectDevice(
  context: Context,
  named: { userId?: string | null; deviceId: string },
): DeviceKey {
  const { viewer } = context;
  const { deviceId } = named;
  if (viewer.kind !== 'device') return { userId: subjectUser(context, named.userId), deviceId };
  const isItself =
    deviceId === viewer.deviceId && (named.userId ?? viewer.userId) === viewer.userId;
  if (isItself) return { userId: viewer.userId, deviceId };
  throw apiError('NOT_FOUND', `there is no device ${JSON.stringify(deviceId)}`);
}
