/** Who may see what, all of it: resolvers ask here. */
import type { Context } from './context.ts';
import { apiError, badArgument } from './errors.ts';

/** Whether the caller may see what belongs to this user. What they may not see does not exist. */
export function maySee({ viewer }: Context, userId: string): boolean {
  return viewer.kind === 'operator' || viewer.userId === userId;
}

/** @throws FORBIDDEN for anybody but an operator */
export function requireOperator({ viewer }: Context): void {
  if (viewer.kind !== 'operator') throw apiError('FORBIDDEN', 'only an operator may see this');
}

/**
 * The user that a mutation or subscription is about: the one named, else the caller.
 *
 * @throws NOT_FOUND for another user's name, BAD_USER_INPUT where an operator names nobody
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
  const subject = userId ?? (context.viewer.kind === 'user' ? context.viewer.userId : null);
  if (subject !== null && !maySee(context, subject)) {
    throw apiError('NOT_FOUND', `there is no user ${JSON.stringify(subject)}`);
  }
  return subject;
}
