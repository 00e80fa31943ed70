import { afterEach, beforeEach, expect, test } from 'bun:test';
import pino from 'pino';
import { connect, type Sql } from '../../src/store/connection.ts';
import { createNotifications } from '../../src/store/notifications.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';

let db: TestDatabase;
const closers: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  db = await testDatabase();
}, 30_000);
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await db.drop();
}, 30_000);

function listenOn(url: string) {
  const heard = { alertEvents: 0, ruleChanges: 0, sessions: 0, warnings: 0 };
  const upTo: (number | undefined)[] = [];
  const logger = pino({ level: 'warn' }, { write: () => void heard.warnings++ });
  const notifications = createNotifications({
    openSession: (onNotify) => {
      heard.sessions++;
      return connect(url, { max: 1, keepSession: true, applicationName: 'listen', onNotify });
    },
    logger,
    onAlertEvents: (seq) => {
      heard.alertEvents++;
      upTo.push(seq);
    },
    onRuleChange: () => void heard.ruleChanges++,
    checkIntervalMs: 50,
    deadlineMs: 300,
    maxBackoffMs: 50,
  });
  closers.push(() => notifications.close());
  notifications.start();
  const whenListening = () => eventually('it listens', () => notifications.listening);
  return { notifications, heard, upTo, whenListening };
}

async function addAlertEvents(sql: Sql, from: number, to: number): Promise<void> {
  await sql`
    INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id,
      severity, message, time, started_at)
    SELECT n, 'e' || n, 'a', 'FIRED', 'FIRING', 'u', 'd', 'r', 'INFO', 'm', now(), now()
    FROM generate_series(${from}::int, ${to}::int) n`;
}

test('whoever commits events or rules wakes the listener, once for a transaction', async () => {
  const { heard, upTo, whenListening } = listenOn(db.url);
  await whenListening();
  // What came before it listened is looked at once.
  expect(heard).toEqual({ alertEvents: 1, ruleChanges: 1, sessions: 1, warnings: 0 });
  await db.sql`INSERT INTO user_configs (user_id) VALUES ('u'), ('v')`;
  await eventually('rules', () => heard.ruleChanges === 2);
  await db.sql.begin(async (tx) => {
    await addAlertEvents(tx as unknown as Sql, 1, 2);
  });
  await eventually('events', () => heard.alertEvents === 2);
  expect(upTo).toEqual([undefined, 2]);
  await db.sql.begin((tx) => tx`DELETE FROM user_configs`);
  await eventually('rules deleted', () => heard.ruleChanges === 3);
  expect(heard).toEqual({ alertEvents: 2, ruleChanges: 3, sessions: 1, warnings: 0 });
}, 15_000);

test('a session that the server ends: it listens again and looks at once', async () => {
  const { heard, whenListening } = listenOn(db.url);
  for (let round = 1; round <= 3; round++) {
    await whenListening();
    await eventually('a look', () => heard.alertEvents === round && heard.ruleChanges === round);
    await db.sql`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
      WHERE application_name = 'listen' AND datname = current_database()`;
    await eventually('another session', () => heard.sessions === round + 1);
  }
}, 15_000);

test('a connection that goes silent is noticed by what does not arrive', async () => {
  const proxy: TcpProxy = await tcpProxy(db.url);
  closers.push(() => proxy.close());
  const { notifications, heard, whenListening } = listenOn(proxy.url);
  await whenListening();
  proxy.freeze();
  await eventually('it knows', () => !notifications.listening);
  proxy.thaw();
  await whenListening();
  const before = heard.alertEvents;
  await addAlertEvents(db.sql, 1, 1);
  await eventually('an event', () => heard.alertEvents > before);
}, 15_000);

test('it closes at once, listening or not', async () => {
  const { notifications, whenListening } = listenOn(db.url);
  await whenListening();
  await notifications.close();
  const nowhere = listenOn('postgres://u:p@127.0.0.1:1/d');
  await eventually('a warning', () => nowhere.heard.warnings === 1);
  await nowhere.notifications.close();
}, 15_000);
