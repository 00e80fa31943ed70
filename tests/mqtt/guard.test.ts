import { afterAll, afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { createPasswordCheck } from '../../src/mqtt/password-check.ts';
import { testDatabase } from '../support/postgres.ts';
import { addAccount, addCases, addPbkdf2, bcrypt, guardOf } from './accounts.ts';
import { type AclCase, CASES, CLIENT_ID, PASSWORD } from './acl-cases.ts';
import { Cleanup, inbox, memoryLog, recordingLogger, until } from './helpers.ts';

/** The embedded broker with accounts, which are in a real PostgreSQL. */

const SLOW = 60_000;
const database = await testDatabase();
const { sql } = database;
const cleanup = new Cleanup();
const log = memoryLog();
const own = 'users/user_123/devices/pump_1/telemetry';
let dataFile: string;
let lines: ReturnType<typeof recordingLogger>['lines'];
let broker: Awaited<ReturnType<typeof start>>;

await addCases(sql);
afterAll(() => database.drop());

async function start() {
  const { logger, lines: written } = recordingLogger();
  lines = written;
  const guard = guardOf(sql, logger);
  cleanup.add(() => guard.close());
  const started = await cleanup.broker({ dataFile, guard, logger, appender: log.appender });
  return { ...started, guard };
}

beforeEach(async () => {
  dataFile = join(cleanup.folder(), 'mqtt.sqlite');
  broker = await start();
}, SLOW);
afterEach(() => cleanup.end(), SLOW);

function login(username: string, options: IClientOptions = {}): Promise<MqttClient> {
  const defaults = { username, password: PASSWORD, clientId: CLIENT_ID };
  return cleanup.client(broker.url, { ...defaults, ...options });
}

/** What the broker answers to the packet: to a denied PUBLISH by ending the connection. */
async function answerTo([who, action, topic]: AclCase): Promise<'allow' | 'deny'> {
  const client = await login(who);
  try {
    if (action === 'subscribe') {
      const [granted] = await client.subscribeAsync(topic, { qos: 1 }).catch(() => []);
      return granted ? 'allow' : 'deny';
    }
    const closed = new Promise<'deny'>((resolve) => client.once('close', () => resolve('deny')));
    const acknowledged = client.publishAsync(topic, 'x', { qos: 1 }).then(() => 'allow' as const);
    return await Promise.race([acknowledged, closed]);
  } finally {
    await client.endAsync(true);
  }
}

const gone = (client: MqttClient) =>
  new Promise<void>((resolve) => (client.connected ? client.once('close', resolve) : resolve()));

test.each(CASES)(
  '%s may %s %s: %s',
  async (...row: unknown[]) => {
    expect(await answerTo(row as AclCase)).toBe(row[3] as 'allow' | 'deny');
  },
  SLOW,
);

describe('logins', () => {
  const refused = (attempt: Promise<unknown>) =>
    attempt.then(
      () => 'let in',
      (error: Error) => error.message,
    );

  test(
    'only with the right password of an account that is enabled',
    async () => {
      const BAD = 'Connection refused: Bad username or password';
      const attempts: [string | undefined, string | Buffer | undefined][] = [
        ['user_123', 'pump station 8'],
        ['user_123', ''],
        ['user_123', undefined],
        ['nobody', PASSWORD],
        ['leaver', PASSWORD],
        ['user_123\0', PASSWORD],
        ['+', PASSWORD],
        ['$pulsegraph', PASSWORD],
        [undefined, undefined],
        ['user_123', Buffer.alloc(5_000, 'x')],
      ];
      for (const [username, password] of attempts) {
        const given = { username, password: password as string };
        const attempt = cleanup.client(broker.url, { ...given, clientId: 'c' });
        expect(await refused(attempt)).toBe(BAD);
      }
      expect(broker.stats().refusedLogins).toBe(attempts.length);
      await login('user_123');
      // Of a name that is no account's nothing is logged: it may be a password.
      expect(JSON.stringify(lines)).not.toContain('nobody');
      expect(JSON.stringify(lines)).not.toContain(PASSWORD);
      expect(lines.filter(({ message }) => message.includes('refused an MQTT login'))).toHaveLength(
        1,
      );
    },
    SLOW,
  );

  test(
    'PBKDF2, and what bcrypt sees of a long password',
    async () => {
      await addPbkdf2(sql, 'pbkdf2');
      await login('pbkdf2');
      expect(await refused(login('pbkdf2', { password: 'x' }))).not.toBe('let in');
      const password_hash = await bcrypt('a'.repeat(72));
      await sql`INSERT INTO mqtt_users ${sql({ username: 'long', password_hash })}`;
      await login('long', { password: 'a'.repeat(100) });
      expect(await refused(login('long', { password: 'a'.repeat(71) }))).not.toBe('let in');
    },
    SLOW,
  );

  test(
    'a right password is hashed once, a wrong one each time, and a changed one counts at once',
    async () => {
      const { check } = createPasswordCheck();
      const password = Buffer.from(PASSWORD);
      const hash = { passwordHash: await bcrypt(PASSWORD), salt: '' };
      expect(await check(password, hash)).toBe('right');
      const real = Bun.password.verify;
      let hashed = 0;
      Bun.password.verify = ((...args: Parameters<typeof real>) => {
        hashed++;
        return real(...args);
      }) as typeof real;
      try {
        for (let i = 0; i < 1_000; i++) expect(await check(password, hash)).toBe('right');
        expect(hashed).toBe(0);
        expect(await check(Buffer.from('x'), hash)).toBe('wrong');
        expect(await check(Buffer.from('x'), hash)).toBe('wrong');
        expect(await check(password, null)).toBe('wrong');
        expect(await check(password, { ...hash, passwordHash: await bcrypt('new') })).toBe('wrong');
        expect(hashed).toBe(4);
      } finally {
        Bun.password.verify = real;
      }
    },
    SLOW,
  );

  test(
    'our own clients get in by a secret of this start, with rights to everything',
    async () => {
      const { own } = broker.guard;
      const ours = await cleanup.client(broker.url, own);
      expect(await ours.subscribeAsync('users/+/config')).toMatchObject([{ qos: 0 }]);
      await ours.publishAsync('users/user_124/alerts', 'x', { qos: 1 });
      expect(await refused(cleanup.client(broker.url, { ...own, password: 'x' }))).not.toBe(
        'let in',
      );
      expect(JSON.stringify(lines)).not.toContain(own.password);
    },
    SLOW,
  );
});

describe('changes', () => {
  test(
    'a right given or taken away counts for what comes next',
    async () => {
      await addAccount(sql, { username: 'changing', role: 'service' });
      const client = await login('changing');
      expect(await answerTo(['changing', 'publish', 'a/b', 'deny'])).toBe('deny');
      await sql`INSERT INTO mqtt_acl (username, action, topic) VALUES ('changing', 'all', 'a/#')`;
      const allowed: AclCase = ['changing', 'publish', 'a/b', 'allow'];
      await until('the right', async () => (await answerTo(allowed)) === 'allow', 20_000);
      await client.endAsync();
      const subscriber = await login('changing');
      await subscriber.subscribeAsync('a/c');
      const ended = gone(subscriber);
      await sql`DELETE FROM mqtt_acl WHERE username = 'changing'`;
      // It would go on getting what it may no longer subscribe.
      await ended;
      expect(await answerTo(['changing', 'publish', 'a/b', 'deny'])).toBe('deny');
    },
    SLOW,
  );

  test(
    'who is disabled or gets another password is disconnected, others are not',
    async () => {
      const other = await login('user_124');
      for (const change of [
        sql`UPDATE mqtt_users SET disabled_at = now() WHERE username = 'victim'`,
        sql`UPDATE mqtt_users SET password_hash = ${await bcrypt('n')} WHERE username = 'victim'`,
        sql`DELETE FROM mqtt_users WHERE username = 'victim'`,
      ]) {
        await sql`DELETE FROM mqtt_users WHERE username = 'victim'`;
        await addAccount(sql, { username: 'victim' });
        let client: MqttClient | undefined;
        await until('a login', async () => {
          client = await login('victim').catch(() => undefined);
          return client !== undefined;
        });
        const ended = gone(client as MqttClient);
        await change;
        await ended;
      }
      expect(other.connected).toBeTrue();
    },
    SLOW,
  );
});

describe('sessions', () => {
  const kept = { clean: false };

  /** What a session's queue holds comes right after the CONNACK. */
  async function comeBack(username: string, clientId = CLIENT_ID): Promise<string[]> {
    const client = mqtt.connect(broker.url, {
      ...{ username, password: PASSWORD, clientId, clean: false, reconnectPeriod: 0 },
    });
    cleanup.add(() => client.end(true));
    const texts: string[] = [];
    client.on('message', (_topic, payload) => texts.push(payload.toString()));
    await new Promise((resolve) => client.once('connect', resolve));
    return texts;
  }

  test(
    'the same client id of two accounts is two sessions',
    async () => {
      const one = await login('user_123', kept);
      const two = await login('user_124', kept);
      await one.subscribeAsync('users/user_123/alerts', { qos: 1 });
      await one.endAsync();
      const ours = await cleanup.client(broker.url, broker.guard.own);
      await ours.publishAsync('users/user_123/alerts', 'for one', { qos: 1 });
      expect(two.connected).toBeTrue();
      await two.endAsync();
      const again = await login('user_124', kept);
      const read = inbox(again);
      const own = await comeBack('user_123');
      await until('its own', () => own.length === 1, 20_000);
      expect(read.texts()).toEqual([]);
    },
    SLOW,
  );

  test(
    'a denied filter beside a granted one leaves nothing in the session',
    async () => {
      const client = await login('user_123', kept);
      const filters = ['users/user_124/alerts', 'users/user_123/alerts', 'users/+/alerts'];
      const granted = await client
        .subscribeAsync(filters, { qos: 1 })
        .catch((error: { packet?: { granted: number[] } }) => error.packet?.granted);
      expect(JSON.stringify(granted)).toMatch(/128/);
      await client.endAsync();
      const ours = await cleanup.client(broker.url, broker.guard.own);
      await ours.publishAsync('users/user_124/alerts', 'not for it', { qos: 1 });
      await ours.publishAsync('users/user_123/alerts', 'for it', { qos: 1 });
      expect(broker.stats().queuedMessages).toBe(1);
    },
    SLOW,
  );

  test(
    'what waits of a subscription that is no longer allowed is not delivered',
    async () => {
      await addAccount(sql, { username: 'keeper', role: 'service' });
      await sql`INSERT INTO mqtt_acl (username, action, topic)
        VALUES ('keeper', 'all', 'k/1'), ('keeper', 'all', 'k/2')`;
      const client = await login('keeper', { ...kept, clientId: 'k' });
      await client.subscribeAsync(['k/1', 'k/2'], { qos: 1 });
      await client.endAsync();
      const ours = await cleanup.client(broker.url, broker.guard.own);
      await ours.publishAsync('k/1', 'taken away', { qos: 1 });
      await ours.publishAsync('k/2', 'kept', { qos: 1 });
      await sql`DELETE FROM mqtt_acl WHERE username = 'keeper' AND topic = 'k/1'`;
      await until(
        'the right to go',
        async () => (await answerTo(['keeper', 'publish', 'k/1', 'deny'])) === 'deny',
        20_000,
      );
      const texts = await comeBack('keeper', 'k');
      await until(
        'the queue',
        () => texts.length > 0 && broker.stats().queuedMessages === 0,
        20_000,
      );
      expect(texts).toEqual(['kept']);
      await ours.publishAsync('k/1', 'later', { qos: 1 });
      expect(broker.stats().queuedMessages).toBe(0);
    },
    SLOW,
  );

  test(
    'a will that its sender may not publish never is',
    async () => {
      const will = (topic: string) => ({ topic, payload: Buffer.from('will'), qos: 1 as const });
      const ours = await cleanup.client(broker.url, broker.guard.own);
      const read = inbox(ours);
      await ours.subscribeAsync('users/#', { qos: 1 });
      const denied = await login('user_123', {
        will: { ...will('users/user_124/config'), retain: false },
      });
      denied.stream.destroy();
      const allowed = await login('user_123', {
        clientId: 'c2',
        will: { ...will(own), retain: false },
      });
      allowed.stream.destroy();
      await until('the will', () => read.messages.length > 0, 20_000);
      expect(read.messages.map(({ topic }) => topic)).toEqual([own]);
    },
    SLOW,
  );
});

test(
  'a denied message never gets to the log, one before it does',
  async () => {
    const client = await login('user_123');
    const before = log.messages.length;
    const ended = gone(client);
    await client.publishAsync(own, 'mine', { qos: 1 });
    client.publish('users/user_124/devices/pump_1/telemetry', 'not mine', { qos: 0 });
    await ended;
    expect(log.texts().slice(before)).toEqual(['mine']);
  },
  SLOW,
);
