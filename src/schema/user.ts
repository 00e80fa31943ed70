import { userExists } from '../store/user-exists.ts';
import { usersPage } from '../store/users-page.ts';
import type { Builder } from './builder.ts';
import { AFTER, connectionType, FIRST, page, pageComplexity } from './connection.ts';
import type { Context } from './context.ts';
import { maySee, requireOperator } from './viewer.ts';

/** Everything that belongs to a user hangs on it, so whoever holds one was allowed to. */
export interface User {
  id: string;
}

/** Null where there is no such user, or none that the caller may see. */
export async function findUser(context: Context, id: string): Promise<User | null> {
  if (!maySee(context, id)) return null;
  const isCaller = context.viewer.kind === 'user';
  return isCaller || (await userExists(context.sql, id)) ? { id } : null;
}

export function defineUser(builder: Builder): void {
  builder.objectType('User', {
    description: 'Owner of devices and rules: the name in the topic.',
    fields: (t) => ({
      id: t.exposeID('id', { description: 'Its name, as in the topic `users/{user}/...`.' }),
    }),
  });
  const Connection = connectionType(builder, 'User');
  builder.queryFields((t) => ({
    me: t.field({
      type: 'User',
      nullable: true,
      description: "The user of the caller's token; null for an operator.",
      resolve: (_, __, { viewer }) => (viewer.kind === 'user' ? { id: viewer.userId } : null),
    }),
    user: t.field({
      type: 'User',
      nullable: true,
      description: 'Any user for an operator; only oneself for a user.',
      args: { id: t.arg.id({ required: true, description: 'The name of the user.' }) },
      resolve: (_, { id }, context) => findUser(context, id),
    }),
    users: t.field({
      type: Connection,
      nullable: true,
      description: 'By name. Operators only.',
      args: {
        first: t.arg.int({ defaultValue: 50, description: FIRST }),
        after: t.arg.string({ description: AFTER }),
      },
      complexity: pageComplexity,
      resolve: async (_, args, context) => {
        requireOperator(context);
        return await page<User, [string]>(args, {
          key: (user) => [user.id],
          shape: ['string'],
          fetch: async (after, limit) => {
            const ids = await usersPage(context.sql, { after: after?.[0] ?? null, limit });
            return ids.map((id) => ({ id }));
          },
        });
      },
    }),
  }));
}
