import type { Logger } from 'pino';
import type { Sql } from './connection.ts';

/** Channels that triggers notify; see migrations.ts. */
export const CHANNELS = {
  alertEvents: 'pulsegraph_alert_events',
  ruleChanges: 'pulsegraph_rule_changes',
} as const;

export interface NotificationsOptions {
  /**
   * Opens one connection of its own, straight to the database, that is never renewed:
   * `connect(url, { max: 1, keepSession: true, onNotify })`.
   */
  openSession: (onNotify: (channel: string, payload: string) => void) => Sql;
  logger: Pick<Logger, 'info' | 'warn'>;
  /**
   * Somebody has committed alert events, up to this seq where it is known; also called after any
   * time in which it was not heard.
   */
  onAlertEvents: (seq?: number) => void;
  /** The same for changes of rules. */
  onRuleChange: () => void;
  /** How often it is tried whether notifications arrive. */
  checkIntervalMs?: number;
  /** How long one of our own may take, and any answer of the server. */
  deadlineMs?: number;
  /** The longest pause between attempts to listen again. */
  maxBackoffMs?: number;
}

/**
 * LISTEN as a wake-up: what another process commits is seen at once, and not at the next poll.
 * Nothing depends on it, as polls go on beside it.
 */
export interface Notifications {
  start(): void;
  /** Whether it hears what is notified, as far as the last check knows. */
  readonly listening: boolean;
  close(): Promise<void>;
}

/**
 * A session may go silent without an error: the client opens a lost connection again by itself and
 * doesn't listen on it, or a machine vanishes. So it notifies itself at each check, and starts anew
 * on another connection where that is not heard. Behind a transaction pooler little would be heard.
 */
export function createNotifications(options: NotificationsOptions): Notifications {
  const { logger, checkIntervalMs = 10_000, deadlineMs = 5_000, maxBackoffMs = 30_000 } = options;
  const closing = new AbortController();
  const ownChannel = `pulsegraph_check_${crypto.randomUUID().replaceAll('-', '')}`;
  let listening = false;
  let running: Promise<void> = Promise.resolve();
  let heardOwn: ((token: string) => void) | null = null;

  function onNotify(channel: string, payload: string): void {
    if (channel === CHANNELS.alertEvents) options.onAlertEvents(Number(payload) || undefined);
    else if (channel === CHANNELS.ruleChanges) options.onRuleChange();
    else if (channel === ownChannel) heardOwn?.(payload);
  }

  async function listen(session: Sql): Promise<void> {
    const channels = [ownChannel, ...Object.values(CHANNELS)];
    const listens = channels.map((channel) => `LISTEN ${channel}`).join('; ');
    await withinDeadline('LISTEN', session.unsafe(listens).simple());
  }

  /** @throws Error when our own notification does not come back in time */
  async function check(session: Sql): Promise<void> {
    const token = crypto.randomUUID();
    const heard = new Promise<void>((resolve) => {
      heardOwn = (payload) => payload === token && resolve();
    });
    await withinDeadline(
      'our own notification',
      Promise.all([heard, session`SELECT pg_notify(${ownChannel}, ${token})`]),
    );
  }

  async function withinDeadline(what: string, work: PromiseLike<unknown>): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let abort = () => {};
    const late = new Promise<never>((_, reject) => {
      const text = `${what} did not arrive within ${deadlineMs} ms`;
      timer = setTimeout(() => reject(new Error(text)), deadlineMs);
      abort = () => reject(new Error('closed'));
      closing.signal.addEventListener('abort', abort);
    });
    const settled = Promise.resolve(work);
    settled.catch(() => {});
    try {
      await Promise.race([settled, late]);
    } finally {
      clearTimeout(timer);
      closing.signal.removeEventListener('abort', abort);
    }
  }

  /** Hears until something is amiss, which it throws, or until it is closed. */
  async function serve(session: Sql): Promise<void> {
    await listen(session);
    while (!closing.signal.aborted) {
      await check(session);
      if (!listening) {
        listening = true;
        logger.info('notifications: listening');
        // What was committed before is not announced again.
        options.onAlertEvents();
        options.onRuleChange();
      }
      await pause(checkIntervalMs);
    }
  }

  async function run(): Promise<void> {
    for (let failures = 0; !closing.signal.aborted; ) {
      const session = options.openSession(onNotify);
      try {
        await serve(session);
      } catch (error) {
        if (listening) failures = 0;
        if (failures++ === 0 && !closing.signal.aborted) {
          logger.warn({ err: error }, 'notifications: not listening; polls go on');
        }
      } finally {
        listening = false;
        await session.end({ timeout: 0 }).catch(() => {});
      }
      const full = Math.min(maxBackoffMs, 250 * 2 ** Math.min(failures, 10));
      await pause(full * (0.5 + Math.random() / 2));
    }
  }

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (closing.signal.aborted) return resolve();
      const end = () => {
        clearTimeout(timer);
        closing.signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      closing.signal.addEventListener('abort', end);
    });
  }

  return {
    start() {
      running = run();
    },
    get listening() {
      return listening;
    },
    async close() {
      closing.abort();
      await running;
    },
  };
}
