import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Client } from 'aedes';
import type { Logger } from 'pino';
import { isAllowed, type MqttAccount, type MqttAction } from '../domain/mqtt-account.ts';
import { isTopicName } from '../domain/topic.ts';
import { type AccountSource, createAccounts } from './accounts.ts';
import { filterMatches } from './filters.ts';
import { createPasswordCheck } from './password-check.ts';
import { createSparingLog } from './sparing-log.ts';

export interface Credentials {
  username: string;
  password: string;
}

/** What a CONNECT says of its sender. */
export interface Login {
  username?: string | undefined;
  password?: Uint8Array | undefined;
  /** Where a certificate that was checked names the account, and no password is asked for. */
  certified?: boolean;
}

export type LoginVerdict = 'in' | 'refused' | 'unavailable';

export interface Guard {
  /** Of our own clients, made at the start and kept nowhere: everything is allowed to them. */
  readonly own: Credentials;
  isOwn(login: Login): boolean;
  /** Whether a connection is one of our own clients'. */
  isOwnClient(client: Client): boolean;
  /** The client id that a session goes by, so that nobody gets at the session of another account. */
  clientId(login: Login, given: string): string;
  logIn(client: Client, login: Login): Promise<LoginVerdict>;
  may(client: Client, action: MqttAction, topic: string): boolean;
  /** Whether a message of the session's queue belongs to a subscription that it still may have. */
  mayGet(client: Client, topic: string): boolean;
  refusedLogins(): number;
  close(): Promise<void>;
}

export interface GuardOptions {
  source: AccountSource;
  logger: Pick<Logger, 'warn' | 'info'>;
  /** How often changes of accounts are looked for; default 500. */
  pollMs?: number;
}

/** A connection that has logged in. */
interface Entry {
  /** Null: one of our own. */
  account: MqttAccount | null;
  certified: boolean;
  /** Answers for topics published to before; forgotten when rights change. */
  mayPublish: Map<string, boolean>;
}

const MAX_ANSWERS = 256;
const MAX_NAME_LENGTH = 512;
const MAX_PASSWORD_BYTES = 4_096;
const LOG_EVERY_MS = 10_000;

/** Lets in whom `mqtt_users` knows, and to what `mqtt_acl` allows: as EMQX does by emqx.conf. */
export function createGuard(options: GuardOptions): Guard {
  const { source, logger } = options;
  const own = { username: '$pulsegraph', password: randomBytes(32).toString('base64url') };
  const ownDigest = digestOf(own.username, Buffer.from(own.password));
  const passwords = createPasswordCheck();
  const entries = new WeakMap<Client, Entry>();
  const open = new Set<Client>();
  let refused = 0;
  // What was typed as a name may be a password: it is logged where it is the name of an account.
  const logRefused = createSparingLog<{ username: string | undefined; from: unknown }>(
    LOG_EVERY_MS,
    (detail, leftOut) =>
      logger.warn(
        { ...detail, leftOut },
        'refused an MQTT login: no such account, or not its password',
      ),
  );
  const logDenied = createSparingLog<object>(LOG_EVERY_MS, (detail, leftOut) =>
    logger.warn(
      { ...detail, leftOut },
      'denied by mqtt_acl: a subscription is refused, a publisher is disconnected',
    ),
  );

  const accounts = createAccounts({
    source,
    logger,
    pollMs: options.pollMs,
    *inUse() {
      for (const client of open) {
        const account = entries.get(client)?.account;
        if (account) yield account.username;
      }
    },
    onChange(fresh, asked) {
      for (const client of open) {
        const username = entries.get(client)?.account?.username;
        if (username !== undefined && asked.has(username)) renew(client, fresh);
      }
    },
  });

  /** Ends a connection whose account is gone or has another password, or lost a subscription. */
  function renew(client: Client, fresh: Map<string, MqttAccount>): void {
    const entry = entries.get(client);
    if (!entry?.account) return;
    const { username, passwordHash } = entry.account;
    const account = fresh.get(username);
    const isSame = account && (entry.certified || account.passwordHash === passwordHash);
    entry.mayPublish.clear();
    if (isSame) entry.account = account;
    const lost =
      isSame && subscriptionsOf(client).find((filter) => !may(client, 'subscribe', filter));
    if (isSame && lost === undefined) return;
    logger.info(
      { username, filter: lost },
      isSame
        ? 'ended an MQTT connection: its account lost the right to a subscription'
        : 'ended an MQTT connection: its account was disabled, deleted or given another password',
    );
    if (!isSame) entries.delete(client);
    client.close();
  }

  function isOwn({ username, password }: Login): boolean {
    if (username !== own.username || password === undefined) return false;
    return timingSafeEqual(digestOf(username, password), ownDigest);
  }

  function may(client: Client, action: MqttAction, topic: string): boolean {
    const entry = entries.get(client);
    if (entry === undefined) return false;
    const { account, mayPublish } = entry;
    if (account === null) return true;
    const known = action === 'publish' ? mayPublish.get(topic) : undefined;
    if (known !== undefined) return known;
    const answer = isAllowed(account, { clientId: client.id, action, topic });
    if (!answer) logDenied({ username: account.username, action, topic });
    if (action === 'publish') {
      if (mayPublish.size >= MAX_ANSWERS) mayPublish.clear();
      mayPublish.set(topic, answer);
    }
    return answer;
  }

  function letIn(client: Client, entry: Entry): LoginVerdict {
    entries.set(client, entry);
    if (!client.conn.destroyed) {
      open.add(client);
      client.conn.once('close', () => open.delete(client));
    }
    return 'in';
  }

  async function verdictOf(client: Client, login: Login): Promise<LoginVerdict> {
    const { username = '', password = new Uint8Array(), certified = false } = login;
    const isName = isTopicName(username) && username.length <= MAX_NAME_LENGTH;
    for (;;) {
      const { account, isCurrent } = isName
        ? await accounts.find(username)
        : { account: null, isCurrent: () => true };
      if (!certified) {
        const isShort = password.length <= MAX_PASSWORD_BYTES;
        const verdict = await passwords.check(isShort ? password : new Uint8Array(), account);
        if (verdict === 'busy') return 'unavailable';
        if (verdict === 'wrong') return refuse(client, account);
      } else if (account === null) return refuse(client, account);
      if (!isCurrent()) continue;
      return letIn(client, { account, certified, mayPublish: new Map() });
    }
  }

  function refuse(client: Client, account: MqttAccount | null): LoginVerdict {
    refused++;
    const { remoteAddress: from } = client.conn as { remoteAddress?: string };
    logRefused({ username: account?.username, from });
    return 'refused';
  }

  return {
    own,
    isOwn,
    isOwnClient: (client) => entries.get(client)?.account === null,
    clientId(login, given) {
      if (given === '' || isOwn(login)) return given;
      return `${login.username ?? ''}/${given}`;
    },
    async logIn(client, login) {
      if (isOwn(login)) {
        return letIn(client, { account: null, certified: false, mayPublish: new Map() });
      }
      try {
        return await verdictOf(client, login);
      } catch {
        // The accounts can't be read, which is logged where they are polled.
        return 'unavailable';
      }
    },
    may,
    mayGet: (client, topic) =>
      entries.get(client)?.account === null ||
      subscriptionsOf(client).some((filter) => filterMatches(filter, topic)),
    refusedLogins: () => refused,
    close: () => accounts.close(),
  };
}

function digestOf(username: string, password: Uint8Array): Buffer {
  return createHash('sha256').update(`${username}\0`).update(password).digest();
}

function subscriptionsOf(client: Client): string[] {
  return Object.keys((client as unknown as { subscriptions: object }).subscriptions);
}
