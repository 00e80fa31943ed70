import { hashPassword } from '../../src/domain/password-hash.ts';
import { createGuard, type Guard } from '../../src/mqtt/guard.ts';
import type { Sql } from '../../src/store/connection.ts';
import { mqttAccountsVersion, readMqttAccounts } from '../../src/store/mqtt-accounts.ts';
import { ACCOUNTS, type AclAccount, PASSWORD, RIGHTS } from './acl-cases.ts';
import { recordingLogger } from './helpers.ts';

export async function bcrypt(password: string): Promise<string> {
  return await Bun.password.hash(password, { algorithm: 'bcrypt', cost: 4 });
}

export async function addAccount(sql: Sql, { disabled, ...account }: AclAccount): Promise<void> {
  const row = { password_hash: await bcrypt(PASSWORD), ...account };
  await sql`INSERT INTO mqtt_users ${sql(row)}`;
  if (disabled) {
    await sql`UPDATE mqtt_users SET disabled_at = now() WHERE username = ${account.username}`;
  }
}

/** The accounts and rights of acl-cases.ts. */
export async function addCases(sql: Sql): Promise<void> {
  for (const account of ACCOUNTS) await addAccount(sql, account);
  for (const right of RIGHTS) await sql`INSERT INTO mqtt_acl ${sql(right)}`;
}

/** An account with a hash of PBKDF2. */
export async function addPbkdf2(sql: Sql, username: string): Promise<void> {
  const { passwordHash: password_hash, salt } = await hashPassword(PASSWORD, 'pbkdf2');
  await sql`INSERT INTO mqtt_users ${sql({ username, password_hash, salt })}`;
}

export function guardOf(sql: Sql, logger = recordingLogger().logger): Guard {
  const source = {
    version: () => mqttAccountsVersion(sql),
    read: (usernames: string[]) => readMqttAccounts(sql, usernames),
  };
  return createGuard({ source, logger, pollMs: 20 });
}
