import type { PasswordHash } from '../domain/password-hash.ts';
import type { Micros } from '../domain/time.ts';
import type { Sql } from './connection.ts';

/** What `bun src/credentials` does to mqtt_users and mqtt_acl. */

export interface NewAccount extends PasswordHash {
  username: string;
  /** `user` has the rights of users; others have only rows in their own name. */
  role: 'user' | 'device' | 'service';
  isSuperuser: boolean;
  /** The topic that a device publishes to. */
  publishTo: string | null;
}

/** False where there is an account of that name. */
export async function insertMqttAccount(sql: Sql, account: NewAccount): Promise<boolean> {
  const { username, role, passwordHash, salt, isSuperuser, publishTo } = account;
  // One statement: the account is never there without its right.
  const rows = await sql`
    WITH account AS (
      INSERT INTO mqtt_users (username, password_hash, salt, role, is_superuser)
      VALUES (${username}, ${passwordHash}, ${salt}, ${role}, ${isSuperuser}::boolean)
      ON CONFLICT DO NOTHING RETURNING username
    ), granted AS (
      INSERT INTO mqtt_acl (username, action, topic)
      SELECT username, 'publish', ${publishTo}::text FROM account
      WHERE ${publishTo}::text IS NOT NULL
    )
    SELECT username FROM account`;
  return rows.length > 0;
}

/** False where there is no such account. */
export async function setMqttPassword(
  sql: Sql,
  { username, passwordHash, salt }: PasswordHash & { username: string },
): Promise<boolean> {
  const rows = await sql`
    UPDATE mqtt_users SET password_hash = ${passwordHash}, salt = ${salt}
    WHERE username = ${username} RETURNING username`;
  return rows.length > 0;
}

/** False where there is no such account. */
export async function setMqttDisabled(
  sql: Sql,
  { username, isDisabled }: { username: string; isDisabled: boolean },
): Promise<boolean> {
  const rows = await sql`
    UPDATE mqtt_users
    SET disabled_at = CASE WHEN ${isDisabled}::boolean THEN coalesce(disabled_at, now()) END
    WHERE username = ${username} RETURNING username`;
  return rows.length > 0;
}

export interface ListedAccount {
  username: string;
  role: string;
  isSuperuser: boolean;
  createdAt: Micros;
  disabledAt: Micros | null;
  /** Rows of mqtt_acl in its own name. */
  ownRights: number;
}

/** Every account by name, without its password. */
export async function listMqttAccounts(sql: Sql): Promise<ListedAccount[]> {
  return await sql<ListedAccount[]>`
    SELECT username, role, is_superuser AS "isSuperuser", created_at AS "createdAt",
           disabled_at AS "disabledAt",
           (SELECT count(*)::int FROM mqtt_acl a WHERE a.username = u.username) AS "ownRights"
    FROM mqtt_users u ORDER BY username`;
}
