import { afterAll, describe, expect, test } from 'bun:test';
import { compileTopic } from '../../src/domain/topic.ts';
import { model } from '../../src/model.ts';
import {
  alertsTopic,
  configRejectedTopic,
  configTopic,
  manageRejectedTopic,
  manageTopic,
} from '../../src/mqtt/topics.ts';
import { addCases } from '../mqtt/accounts.ts';
import { CASES, CLIENT_ID, PASSWORD as password } from '../mqtt/acl-cases.ts';
import { testDatabase } from '../support/postgres.ts';
import { exampleEnv, hoconValue, readCompose, readText } from './stack.ts';

/** The queries of emqx.conf and the accounts of accounts.sql, on a database as migrated. */

const env = exampleEnv();
const { services } = await readCompose(env);
const conf = await readText('docker/emqx.conf');
const database = await testDatabase();
const { sql } = database;
/** Roles belong to the whole server. */
const emqxRole = `emqx_test_${process.pid}`;

afterAll(async () => {
  await sql.unsafe(`DROP OWNED BY ${emqxRole}; DROP ROLE ${emqxRole}`);
  await database.drop();
});

await addCases(sql);
await sql.unsafe(`CREATE ROLE ${emqxRole}`);
await runAccounts();
await runAccounts();

/** accounts.sql as psql runs it, bar the role, which is there. */
async function runAccounts(): Promise<void> {
  const variables: Record<string, string> = {
    ...services.accounts?.environment,
    EMQX_DATABASE_USER: emqxRole,
  };
  const text = await readText('docker/accounts.sql');
  const values = new Map(
    [...text.matchAll(/^\\getenv (\w+) (\w+)$/gm)].map(([, name, variable]) => {
      const value = variables[variable as string];
      if (!value) throw new Error(`docker-compose.yml gives accounts.sql no ${variable}`);
      return [name as string, value] as const;
    }),
  );
  const statements = text
    .replace(/^\\(?:set|getenv) .*$/gm, '')
    .replace(/^SELECT format[^;]*\\gexec$/m, '')
    .replace(/:'(\w+)'/g, (_, name) => `'${values.get(name)}'`)
    .replace(/:"(\w+)"/g, (_, name) => `"${values.get(name)}"`);
  await sql.begin(async (tx) => {
    await tx.unsafe(statements);
  });
}

/** As EMQX prepares a query: each placeholder is a parameter. */
async function query(after: string, username: string): Promise<Record<string, string>[]> {
  const text = hoconValue(conf, 'query', after);
  const params: string[] = [];
  const prepared = text.replace(/\$\{username\}/g, () => `$${params.push(username)}`);
  return await sql.begin(async (tx) => {
    await tx.unsafe(`SET LOCAL ROLE ${emqxRole}`);
    return [...(await tx.unsafe(prepared, params))] as Record<string, string>[];
  });
}

const account = (username: string) => query('authentication =', username);
const rights = (username: string) => query('sources =', username);

/** EMQX's way (emqx_authz_rule, emqx_topic): the first row that matches decides, else no_match. */
async function may(username: string, action: string, topic: string): Promise<boolean> {
  const [login] = (await account(username)) as { is_superuser?: boolean }[];
  if (login?.is_superuser) return true;
  const names = { username, clientid: `${username}/${CLIENT_ID}` };
  for (const row of await rights(username)) {
    expect(Object.keys(row).sort()).toEqual(['action', 'permission', 'topic']);
    if (row.action !== action && row.action !== 'all') continue;
    if (topicMatches(topic, row.topic ?? '', names)) return row.permission === 'allow';
  }
  return hoconValue(conf, 'no_match') === 'allow';
}

function topicMatches(topic: string, right: string, names: Record<string, string>): boolean {
  if (right.startsWith('eq ')) return topic === right.slice(3);
  const filled = right.replace(/\$\{(\w+)\}/g, (_, name) => names[name] ?? '');
  if (topic.startsWith('$') && /^[+#]/.test(filled)) return false;
  return wordsMatch(topic.split('/'), filled.split('/'));
}

function wordsMatch(words: string[], filter: string[]): boolean {
  if (filter[0] === '#') return true;
  if (words.length === 0 || filter.length === 0) return words.length === filter.length;
  return (
    (filter[0] === '+' || filter[0] === words[0]) && wordsMatch(words.slice(1), filter.slice(1))
  );
}

describe('authentication', () => {
  test('a user is found, with a hash that EMQX knows', async () => {
    expect(hoconValue(conf, 'password_hash_algorithm.name')).toBe('bcrypt');
    const [row, ...more] = await account('user_123');
    expect(more).toEqual([]);
    expect(await Bun.password.verify(password, row?.password_hash ?? '')).toBeTrue();
    expect(await Bun.password.verify('pump station 8', row?.password_hash ?? '')).toBeFalse();
  });

  test('nobody else is', async () => {
    expect(await account('user_999')).toEqual([]);
    expect(await account('leaver')).toEqual([]);
    expect(await account("' OR true --")).toEqual([]);
  });

  test('Pulsegraph and Vector log in with the passwords of .env', async () => {
    for (const { MQTT_USERNAME, MQTT_PASSWORD } of [env, services.vector?.environment ?? {}]) {
      const [row] = await account(MQTT_USERNAME ?? '');
      const isRight = Bun.password.verify(MQTT_PASSWORD ?? '', row?.password_hash ?? '');
      expect(await isRight).toBeTrue();
    }
  });

  test.each(['', '+', '#', 'a/b', 'a+'])('an account named %j is refused', async (username) => {
    const password_hash = `$2b$10$${'a'.repeat(53)}`;
    const attempt = sql`INSERT INTO mqtt_users ${sql({ username, password_hash })}`.execute();
    await expect(attempt).rejects.toThrow('mqtt_users_username_check');
  });

  test('a password that was not hashed is refused', async () => {
    const row = { username: 'user_125', password_hash: password };
    await expect(sql`INSERT INTO mqtt_users ${sql(row)}`.execute()).rejects.toThrow(
      'password_hash_check',
    );
  });

  test('EMQX may read accounts and rights, and nothing else', async () => {
    const read = (table: string) =>
      sql.begin(async (tx) => {
        await tx.unsafe(`SET LOCAL ROLE ${emqxRole}`);
        await tx.unsafe(`SELECT FROM ${table}`);
      });
    await read('mqtt_acl');
    await expect(read('raw_telemetry')).rejects.toThrow('permission denied');
    await expect(read('user_configs')).rejects.toThrow('permission denied');
  });
});

describe('rights', () => {
  const telemetry = compileTopic(model);
  const own = telemetry.format({ userId: 'user_123', deviceId: 'pump_1' });

  test('of a user: the topics of the model and of src/mqtt/topics.ts, under its own name', async () => {
    const name = `\${username}`;
    const rows = (await rights('user_123')).map(({ action, topic }) => `${action} ${topic}`);
    expect(rows.toSorted()).toEqual(
      [
        `publish ${telemetry.format({ userId: name, deviceId: 'x' }).replace('/x/', '/+/')}`,
        `publish ${configTopic.format(name)}`,
        `publish ${manageTopic.format(name)}`,
        `subscribe ${configTopic.format(name)}`,
        `subscribe ${configRejectedTopic.format(name)}`,
        `subscribe ${manageRejectedTopic.format(name)}`,
        `subscribe ${alertsTopic.format(name)}`,
      ].toSorted(),
    );
  });

  test.each(CASES)('%s may %s %s: %s', async (who, action, topic, answer, emqx = answer) => {
    expect(await may(who, action, topic)).toBe(emqx === 'allow');
  });

  test('whoever is unknown may do nothing', async () => {
    expect(await rights('user_999')).toEqual([]);
    expect(await rights('leaver')).toEqual([]);
  });

  test('of Pulsegraph and Vector: the topics of all users that each handles', async () => {
    const of = async (name = '') =>
      (await rights(name)).map(({ action, topic }) => `${action} ${topic}`).toSorted();
    expect(await of(services.vector?.environment?.MQTT_USERNAME)).toEqual([
      `subscribe ${telemetry.filter}`,
    ]);
    expect(await of(env.MQTT_USERNAME)).toEqual(
      [
        `subscribe ${telemetry.filter}`,
        `subscribe ${configTopic.filter}`,
        `subscribe ${manageTopic.filter}`,
        `publish ${configTopic.filter}`,
        `publish ${configRejectedTopic.filter}`,
        `publish ${manageRejectedTopic.filter}`,
        `publish ${alertsTopic.filter}`,
      ].toSorted(),
    );
    expect(await may(env.MQTT_USERNAME ?? '', 'subscribe', telemetry.filter)).toBeTrue();
    expect(await may(env.MQTT_USERNAME ?? '', 'publish', 'users/user_123/alerts')).toBeTrue();
    expect(await may(env.MQTT_USERNAME ?? '', 'publish', own)).toBeFalse();
  });

  test('a deny of one account wins over what its role allows', async () => {
    const row = { username: 'user_123', permission: 'deny', action: 'publish', topic: own };
    await sql`INSERT INTO mqtt_acl ${sql(row)}`;
    expect(await may('user_123', 'publish', own)).toBeFalse();
    expect(await may('user_123', 'publish', own.replace('pump_1', 'pump_2'))).toBeTrue();
  });

  test('the SQL of docs/deployment.md makes a user, and an account of one device', async () => {
    await sql`DELETE FROM mqtt_users WHERE username = 'user_123'`;
    const docs = await readText('docs/deployment.md');
    for (const [, statements] of docs.matchAll(/^```sql\n(.*?)^```$/gms)) {
      await sql.unsafe(statements as string);
    }
    const [row] = await account('user_123');
    expect(await Bun.password.verify('a long password', row?.password_hash ?? '')).toBeTrue();
    expect(await may('user_123', 'publish', own)).toBeTrue();
    expect(await may('pump_1', 'publish', own)).toBeTrue();
    expect(await may('pump_1', 'publish', own.replace('pump_1', 'pump_2'))).toBeFalse();
    expect(await may('pump_1', 'publish', 'users/pump_1/config')).toBeFalse();
  });

  test('go with their account', async () => {
    await sql`DELETE FROM mqtt_users WHERE username = 'user_123'`;
    expect(await rights('user_123')).toEqual([]);
    expect(await sql`SELECT FROM mqtt_acl WHERE username = 'user_123'`).toHaveLength(0);
  });
});
