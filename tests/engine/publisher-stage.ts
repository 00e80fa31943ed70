import pino from 'pino';
import { createPublisher, type Publisher } from '../../src/engine/publish.ts';
import { createRuleBook, type RuleBook } from '../../src/engine/rule-book.ts';
import { model } from '../../src/model.ts';
import type { Broker } from '../../src/mqtt/broker.ts';
import { connectMqtt } from '../../src/mqtt/client.ts';
import { createAlertEventTail } from '../../src/store/alert-event-tail.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { Cleanup, inbox, until } from '../mqtt/helpers.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const logger = pino({ level: 'silent' });

/** A database, a broker and a rule book, on which publishers and apps are started. */
export class PublisherStage {
  readonly cleanup = new Cleanup();
  db!: TestDatabase;
  sql!: Sql;
  broker!: Broker;
  book!: RuleBook;
  dataFile = '';
  /** Of every MQTT connection that publishers opened. */
  readonly clientIds: string[] = [];

  async open(): Promise<void> {
    const { cleanup } = this;
    this.db = await testDatabase();
    cleanup.add(() => this.db.drop());
    this.sql = connect(this.db.url, { max: 4, applicationName: 'publisher' });
    cleanup.add(() => this.sql.end({ timeout: 1 }));
    this.dataFile = `${cleanup.folder()}/mqtt.sqlite`;
    this.broker = await cleanup.broker({ dataFile: this.dataFile });
    this.book = createRuleBook({ sql: this.sql, model, logger });
    cleanup.add(() => this.book.close());
    await this.book.start();
  }

  /**
   * @param options.wait until it is elected and subscribed
   * @param options.refuses messages that don't leave the publisher, as if the broker refused them
   * @param options.losesAnswer to messages that were handled, so that the broker sends them again
   */
  async publisher({
    wait = true,
    name,
    refuses = () => false,
    losesAnswer = () => false,
  }: {
    wait?: boolean;
    name?: string;
    refuses?: (topic: string, text: string) => boolean | Promise<boolean>;
    losesAnswer?: (topic: string) => boolean;
  } = {}): Promise<Publisher> {
    const { sql, db } = this;
    const tail = createAlertEventTail({ sql, logger });
    await tail.start();
    const backoff = { firstMs: 20, maxMs: 200 };
    const publisher = createPublisher({
      sql,
      openSession: () =>
        connect(db.url, { max: 1, keepSession: true, applicationName: 'publisher-lock' }),
      connectMqtt: (options) => {
        this.clientIds.push(options.clientId);
        const client = connectMqtt({ url: this.broker.url, ...options, backoff, logger });
        const { publish, subscribe } = client;
        client.subscribe = (filter, handler) =>
          subscribe(filter, async (message) => {
            await handler(message);
            if (losesAnswer(message.topic)) throw new Error('killed before its PUBACK');
          });
        client.publish = async (topic, payload, how) => {
          if (await refuses(topic, payload.toString())) throw new Error('not authorized');
          await publish(topic, payload, how);
        };
        return client;
      },
      name,
      patienceMs: 500,
      tail,
      ruleBook: this.book,
      model,
      logger,
      electionIntervalMs: 100,
    });
    this.cleanup.add(async () => {
      await publisher.close();
      await tail.close();
    });
    publisher.start();
    if (wait) await until('the election', () => publisher.subscribed);
    return publisher;
  }

  /** An app: `on` gives the JSON that it got on a topic. */
  async app(clientId: string, filter: string, clean = true) {
    const client = await this.cleanup.client(this.broker.url, { clientId, clean });
    const { messages } = inbox(client);
    await client.subscribeAsync(filter, { qos: 1 });
    const on = (topic: string) =>
      messages
        .filter((message) => message.topic === topic && message.text.endsWith('}'))
        .map(({ text }) => JSON.parse(text));
    return { client, messages, on };
  }

  async insertAlerts(from: number, to: number, userId = 'u'): Promise<void> {
    await this.db.sql`
      INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id,
        severity, message, key, operator, threshold, value, time, started_at)
      SELECT n, 'e' || n, 'a' || n, 'FIRED', 'FIRING', ${userId}, 'd', 'battery-lt', 'WARNING',
        'Low', 'battery', '<', '20', '19.5', '2024-01-01T00:00:00.000001Z', '2024-01-01T00:00:00Z'
      FROM generate_series(${from}::int, ${to}::int) n`;
  }

  async writeSql(rules: object[], userId = 'u'): Promise<void> {
    const { sql } = this.db;
    await sql`
      INSERT INTO user_configs (user_id, rules) VALUES (${userId}, ${sql.json(rules as never)})
      ON CONFLICT (user_id) DO UPDATE SET rules = EXCLUDED.rules`;
  }

  /** The version of a user's rules in force. */
  async version(userId = 'u'): Promise<number> {
    await this.book.refresh();
    return (await this.book.rulesFor([userId])).get(userId)?.version ?? -1;
  }

  async position(stream: string): Promise<number> {
    const [row] = await this.db.sql<{ seq: number }[]>`
      SELECT seq FROM publisher_positions WHERE stream = ${stream}`;
    return row?.seq ?? 0;
  }
}
