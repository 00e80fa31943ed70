import type { MqttAccount, MqttRight } from '../domain/mqtt-account.ts';
import type { Sql } from './connection.ts';
import { textArray } from './text-array.ts';

interface UserRow {
  username: string;
  password_hash: string;
  salt: string;
  is_superuser: boolean;
  role: string;
}

interface RightRow extends MqttRight {
  username: string | null;
  role: string | null;
}

/** Grows in commit order with every change of mqtt_users and mqtt_acl. */
export async function mqttAccountsVersion(sql: Sql): Promise<number> {
  const [row] = await sql<{ version: number }[]>`SELECT version FROM mqtt_accounts_version`;
  return row?.version ?? 0;
}

/**
 * These accounts with their rights, of one moment; without those that are unknown or disabled. What
 * EMQX asks for one account (docker/emqx.conf), for many.
 */
export async function readMqttAccounts(
  sql: Sql,
  usernames: Iterable<string>,
): Promise<Map<string, MqttAccount>> {
  const [users, rights] = await sql.begin(
    'ISOLATION LEVEL REPEATABLE READ READ ONLY',
    async (transactionSql) => {
      const tx = transactionSql as unknown as Sql;
      const users = await tx<UserRow[]>`
        SELECT username, password_hash, salt, is_superuser, role FROM mqtt_users
        WHERE username = ANY (${textArray([...usernames])}::text[]) AND disabled_at IS NULL`;
      const names = users.map(({ username }) => username);
      const roles = [...new Set(users.map(({ role }) => role))];
      const rights = await tx<RightRow[]>`
        SELECT username, role, permission, action, topic FROM mqtt_acl
        WHERE username = ANY (${textArray(names)}::text[]) OR role = ANY (${textArray(roles)}::text[])
        ORDER BY permission DESC, id`;
      return [users, rights] as const;
    },
  );
  const byOwner = Map.groupBy(rights, ({ username, role }) => ownerKey(username, role));
  const ordered = new Map(rights.map((right, index) => [right, index]));
  return new Map(
    users.map((row) => {
      const own = byOwner.get(ownerKey(row.username, null)) ?? [];
      const ofRole = byOwner.get(ownerKey(null, row.role)) ?? [];
      const all = [...own, ...ofRole].sort(
        (a, b) => (ordered.get(a) as number) - (ordered.get(b) as number),
      );
      return [row.username, accountOf(row, all)];
    }),
  );
}

function ownerKey(username: string | null, role: string | null): string {
  return username === null ? `role ${role}` : `user ${username}`;
}

function accountOf(row: UserRow, rights: RightRow[]): MqttAccount {
  return {
    username: row.username,
    passwordHash: row.password_hash,
    salt: row.salt,
    isSuperuser: row.is_superuser,
    rights: rights.map(({ permission, action, topic }) => ({ permission, action, topic })),
  };
}
