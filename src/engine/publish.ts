import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import { configTopic, manageTopic } from '../mqtt/topics.ts';
import type { AlertEventTail } from '../store/alert-event-tail.ts';
import type { Sql } from '../store/connection.ts';
import { LOCKS } from '../store/migrations.ts';
import { createBroadcastMemory } from './broadcast-memory.ts';
import type { Incoming } from './consume.ts';
import { consumeConfig } from './consume-configs.ts';
import { consumeManage } from './consume-manage.ts';
import { runForOffice } from './elect.ts';
import { endSnoozes } from './end-snoozes.ts';
import { publishAlerts } from './publish-alerts.ts';
import { publishConfigs } from './publish-configs.ts';
import type { PublishPort } from './publish-port.ts';
import type { RuleBook } from './rule-book.ts';
import type { Tracer } from './tracer.ts';

/** An MQTT client as the publisher uses it; `connectMqtt` gives one. */
export interface PublisherMqtt extends PublishPort {
  /** The message is acknowledged when the handler resolves, sent again when it rejects. */
  subscribe(filter: string, handler: (message: Incoming) => Promise<void>): Promise<void>;
  close(deadlineMs?: number): Promise<void>;
}

export interface PublisherOptions {
  /** A pool. */
  sql: Sql;
  /** Opens a single connection straight to the database, kept open: `max: 1, keepSession: true`. */
  openSession: () => Sql;
  connectMqtt: (options: { clientId: string; clean: boolean }) => PublisherMqtt;
  tail: Pick<AlertEventTail, 'newest' | 'read' | 'wait'>;
  /** Poked when a message has changed rules. */
  ruleBook: Pick<RuleBook, 'poke'>;
  model: Model;
  logger: Logger;
  /** Where messages are followed. */
  tracer?: Tracer | undefined;
  /** One for each deployment on a broker, the same for its replicas; default `pulsegraph`. */
  name?: string;
  /** How long a config that the broker refuses is tried again at least; default 10,000. */
  patienceMs?: number;
  /** How often a candidate asks for the lock, and the elected one whether it still has it. */
  electionIntervalMs?: number;
}

/**
 * One replica, elected, sends alerts and configs to MQTT, takes configs and operations on alerts in
 * from there, and reminds of alerts when their snooze ends.
 */
export interface Publisher {
  start(): void;
  readonly elected: boolean;
  /** Elected, and the broker has granted the subscriptions: no message is missed now. */
  readonly subscribed: boolean;
  close(): Promise<void>;
}

export function createPublisher(options: PublisherOptions): Publisher {
  const { sql, tail, model, ruleBook, name = 'pulsegraph', patienceMs } = options;
  // Its queue holds what comes while nobody is elected: one name for all replicas.
  const session = `${name}-publisher`;
  const logger = options.logger.child({ part: 'publisher' });
  const closing = new AbortController();
  let running: Promise<void> = Promise.resolve();
  let elected = false;
  let subscribed = false;

  async function term(signal: AbortSignal): Promise<void> {
    // Three connections: on the incoming one a message that waits for the database holds up all
    // else, and a config that the broker refuses may end the one that it is sent on.
    const connect = (use: string) =>
      options.connectMqtt({
        clientId: `${session}-${use}-${crypto.randomUUID().slice(0, 8)}`,
        clean: true,
      });
    const alerts = connect('alerts');
    const configs = connect('configs');
    const incoming = options.connectMqtt({ clientId: session, clean: false });
    const memory = createBroadcastMemory();
    const onChanged = () => ruleBook.poke();
    const consuming = { sql, mqtt: configs, memory, model, onChanged, logger, signal, patienceMs };
    const take = (filter: string, consume: (message: Incoming) => Promise<void>) =>
      incoming.subscribe(filter, async (message) => {
        signal.throwIfAborted();
        await consume(message);
      });
    Promise.all([
      take(configTopic.filter, (message) => consumeConfig(consuming, message)),
      take(manageTopic.filter, (message) => consumeManage(consuming, message)),
    ])
      .then(() => {
        subscribed = !signal.aborted;
      })
      .catch(() => {});
    const close = () =>
      Promise.all([incoming, alerts, configs].map((client) => client.close(1_000)));
    // At once, so that nothing waits for the answers of a broker that is away.
    signal.addEventListener('abort', () => void close(), { once: true });
    elected = true;
    try {
      await Promise.all([
        publishAlerts({ sql, mqtt: alerts, tail, logger, signal, tracer: options.tracer }),
        publishConfigs({ sql, mqtt: configs, memory, model, logger, signal, patienceMs }),
        endSnoozes({ sql, logger, signal }),
      ]);
    } finally {
      elected = false;
      subscribed = false;
      await close();
    }
  }

  return {
    start() {
      running = runForOffice({
        openSession: options.openSession,
        lock: LOCKS.publisher,
        name: 'publisher',
        term,
        logger,
        signal: closing.signal,
        intervalMs: options.electionIntervalMs,
      });
    },
    get elected() {
      return elected;
    },
    get subscribed() {
      return subscribed;
    },
    async close() {
      closing.abort();
      await running;
    },
  };
}
