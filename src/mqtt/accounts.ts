import type { Logger } from 'pino';
import type { MqttAccount } from '../domain/mqtt-account.ts';
import { createSparingLog } from './sparing-log.ts';

/** Where accounts are kept. */
export interface AccountSource {
  /** Grows with every change. */
  version(): Promise<number>;
  /** Without those that are unknown or disabled. */
  read(usernames: string[]): Promise<Map<string, MqttAccount>>;
}

export interface FoundAccount {
  account: MqttAccount | null;
  /** Whether nothing has changed since it was read. */
  isCurrent(): boolean;
}

export interface Accounts {
  /** @throws Error where the source is away and the account isn't known from before */
  find(username: string): Promise<FoundAccount>;
  close(): Promise<void>;
}

export interface AccountsOptions {
  source: AccountSource;
  /** Those in use, which are read anew when something changed. */
  inUse(): Iterable<string>;
  /** `asked`: whom it is about; who logged in since has what is new. */
  onChange(accounts: Map<string, MqttAccount>, asked: ReadonlySet<string>): void;
  logger: Pick<Logger, 'warn'>;
  /** Default 500. */
  pollMs?: number;
}

const MAX_KEPT = 20_000;
const READ_AT_ONCE = 1_000;
const LOG_EVERY_MS = 60_000;

/**
 * Accounts as the database has them, some half a second late. While it is away, what was read
 * before goes on being good.
 */
export function createAccounts(options: AccountsOptions): Accounts {
  const { source, pollMs = 500 } = options;
  const kept = new Map<string, MqttAccount | null>();
  const reading = new Map<string, Promise<MqttAccount | null>>();
  const closing = Promise.withResolvers<void>();
  let version: number | null = null;
  let changes = 0;
  let isClosed = false;
  const logAway = createSparingLog<unknown>(LOG_EVERY_MS, (error, leftOut) =>
    options.logger.warn(
      { err: error, leftOut },
      'MQTT accounts can’t be read: changes of them wait, and only accounts known before can log in',
    ),
  );

  async function read(username: string): Promise<MqttAccount | null> {
    const before = changes;
    const account = (await source.read([username])).get(username) ?? null;
    if (before === changes) {
      kept.delete(username);
      kept.set(username, account);
      if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value as string);
    }
    return account;
  }

  function readOnce(username: string): Promise<MqttAccount | null> {
    const underWay = reading.get(username);
    if (underWay) return underWay;
    const work = read(username).finally(() => {
      if (reading.get(username) === work) reading.delete(username);
    });
    reading.set(username, work);
    return work;
  }

  async function poll(): Promise<void> {
    const now = await source.version();
    if (now === version) return;
    // From here on nobody takes what was read before.
    changes++;
    kept.clear();
    reading.clear();
    const asked = new Set(options.inUse());
    const usernames = [...asked];
    const accounts = new Map<string, MqttAccount>();
    for (let i = 0; i < usernames.length; i += READ_AT_ONCE) {
      for (const [name, account] of await source.read(usernames.slice(i, i + READ_AT_ONCE))) {
        accounts.set(name, account);
      }
    }
    options.onChange(accounts, asked);
    version = now;
  }

  async function follow(): Promise<void> {
    while (!isClosed) {
      await poll().catch(logAway);
      await Promise.race([Bun.sleep(pollMs), closing.promise]);
    }
  }
  const following = follow();

  return {
    async find(username) {
      const before = changes;
      const known = kept.get(username);
      const account = known === undefined ? await readOnce(username) : known;
      return { account, isCurrent: () => before === changes };
    },
    async close() {
      isClosed = true;
      closing.resolve();
      await following;
    },
  };
}
