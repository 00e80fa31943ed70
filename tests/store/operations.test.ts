import { afterEach, beforeEach, expect, test } from 'bun:test';
import type { Fired, Resolved } from '../../src/domain/alert.ts';
import { acknowledge } from '../../src/store/acknowledge.ts';
import type { TransactionSql } from '../../src/store/connection.ts';
import { dueSnoozes, endSnooze } from '../../src/store/end-snoozes.ts';
import { snooze } from '../../src/store/snooze.ts';
import { unsnooze } from '../../src/store/unsnooze.ts';
import { appendAlertEvents, writeAlerts } from '../../src/store/write-alerts.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';

/** What operations and lanes do to each other, on one rule of one device. */

const RULE = { userId: 'u', deviceId: 'd', ruleId: 'hot' };
const HOUR = { months: 0, days: 0, micros: 3_600_000_000 };
const actor = 'ann';

let db: TestDatabase;
beforeEach(async () => {
  db = await testDatabase();
}, 60_000);
afterEach(() => db.drop());

const rule = {
  id: 'hot',
  key: 'temperature',
  operator: '>',
  threshold: 80,
  message: 'hot',
  severity: 'WARNING',
  enabled: true,
} as const;

function fired(alertId: string, time: number): Fired {
  return {
    ...{ type: 'FIRED', eventId: `${alertId}-f`, alertId, userId: 'u', deviceId: 'd', rule },
    ...{ ruleVersion: 1, message: 'hot', value: 81, time, holdingSince: time, eventTime: time },
    ...{ sequenceId: 1, evidence: { partition: 0, offset: 1, arrival: time } },
  };
}

/** A lane's transaction, which commits once `until` resolves. */
async function lane(work: 'fire' | 'resolve', alertId: string, time = 1, until?: Promise<void>) {
  await db.sql.begin(async (sql) => {
    const tx = sql as unknown as TransactionSql;
    const resolved: Resolved = {
      ...{ type: 'RESOLVED', eventId: `${alertId}-r`, alertId, userId: 'u', deviceId: 'd' },
      ...{ ruleId: 'hot', reason: 'CLEARED', value: 20, time },
    };
    const transition = work === 'fire' ? fired(alertId, time) : resolved;
    await writeAlerts(tx, [transition], []);
    await until;
    await appendAlertEvents(tx, [transition]);
  });
}

async function events(): Promise<string[]> {
  const rows = await db.sql`SELECT alert_id, type, status, muted FROM alert_events ORDER BY seq`;
  return rows.map((e) => `${e.muted ? '~' : ''}${e.alert_id} ${e.type} ${e.status}`);
}
const snoozed = () => db.sql`SELECT until FROM snoozes`;
/** As if the snooze had been made long ago, and its time were over by now. */
const runOut = () =>
  db.sql`UPDATE snoozes SET until = clock_timestamp(), created_at = now() - interval '1 hour'`;
const waiting = () =>
  eventually('somebody waits for a lock', async () => {
    const rows = await db.sql`
      SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`;
    return rows.length > 0;
  });

test('a snooze of about the same end is the same; another one takes its place', async () => {
  await lane('fire', 'a');
  const half = { ...HOUR, micros: HOUR.micros / 2 };
  for (const duration of [HOUR, HOUR, { ...HOUR, micros: HOUR.micros + 30_000_000 }]) {
    await snooze(db.sql, { rule: RULE, duration, actor });
  }
  const [first] = await snoozed();
  await snooze(db.sql, { rule: RULE, duration: half, actor });
  const [second] = await snoozed();
  expect(second?.until).toBeLessThan(first?.until - HOUR.micros / 3);
  expect(await events()).toEqual(['a FIRED FIRING', 'a SNOOZED FIRING', 'a SNOOZED FIRING']);
});

test('a month is one of the calendar, and a short snooze is no longer than asked for', async () => {
  await snooze(db.sql, { rule: RULE, duration: { months: 1, days: 0, micros: 0 }, actor });
  const [row] = await db.sql`SELECT until = created_at + interval '1 month' AS exact FROM snoozes`;
  expect(row?.exact).toBe(true);
  const second = { months: 0, days: 0, micros: 1_000_000 };
  await snooze(db.sql, { rule: RULE, duration: second, actor });
  const [short] =
    await db.sql`SELECT until - created_at = interval '1 second' AS exact FROM snoozes`;
  expect(short?.exact).toBe(true);
});

test('operations are about the episode that fires, else the newest; without one a snooze is kept', async () => {
  await snooze(db.sql, { rule: RULE, duration: HOUR, actor });
  expect(await events()).toEqual([]);
  expect(await acknowledge(db.sql, { alert: RULE, actor })).toBe(false);
  expect(await unsnooze(db.sql, { rule: RULE, actor })).toBe(true);
  expect(await unsnooze(db.sql, { rule: RULE, actor })).toBe(false);
  await lane('fire', 'b', 20);
  await lane('resolve', 'b', 30);
  // Fired later, but dated earlier: its device's clock was set back.
  await lane('fire', 'a', 10);
  await snooze(db.sql, { rule: RULE, duration: HOUR, actor });
  await lane('resolve', 'a', 11);
  expect(await acknowledge(db.sql, { alert: RULE, actor })).toBe(true);
  expect(await acknowledge(db.sql, { alert: RULE, actor: 'bob' })).toBe(true);
  expect(await events()).toEqual([
    ...['b FIRED FIRING', 'b RESOLVED RESOLVED', 'a FIRED FIRING', 'a SNOOZED FIRING'],
    ...['a RESOLVED RESOLVED', 'b ACKNOWLEDGED RESOLVED'],
  ]);
  const [b] = await db.sql`SELECT acknowledged_by FROM alerts WHERE id = 'b'`;
  expect(b?.acknowledged_by).toBe(actor);
});

test('a snooze ends once, whoever tries; only what it kept quiet or knew is reminded of', async () => {
  await lane('fire', 'a');
  await snooze(db.sql, { rule: RULE, duration: HOUR, actor });
  expect(await dueSnoozes(db.sql, 10)).toEqual([]);
  expect(await endSnooze(db.sql, RULE)).toBe(false);
  await runOut();
  expect(await dueSnoozes(db.sql, 10)).toEqual([RULE]);
  const ended = await Promise.all(Array.from({ length: 8 }, () => endSnooze(db.sql, RULE)));
  expect(ended.filter((one) => one)).toHaveLength(1);
  expect(await events()).toEqual(['a FIRED FIRING', 'a SNOOZED FIRING', 'a REMINDED FIRING']);
  expect(await snoozed()).toHaveLength(0);
  // Fired behind the end of a snooze that nobody was there to end.
  await lane('resolve', 'a', 2);
  await snooze(db.sql, { rule: RULE, duration: HOUR, actor });
  await runOut();
  await lane('fire', 'b', 3);
  expect(await endSnooze(db.sql, RULE)).toBe(true);
  expect((await events()).slice(3)).toEqual([
    'a RESOLVED RESOLVED',
    'a SNOOZED RESOLVED',
    'b FIRED FIRING',
  ]);
});

test('what fires while its snooze ends is told: by the one or by the other', async () => {
  for (const end of ['time', 'hand'] as const) {
    const alert = `of-${end}`;
    // Time enough for the lane to look before it is over.
    const duration = end === 'time' ? { ...HOUR, micros: 6_000_000 } : HOUR;
    await snooze(db.sql, { rule: RULE, duration, actor });
    const { promise, resolve } = Promise.withResolvers<void>();
    // Muted by a transaction that is open yet when the snooze's time is over.
    const firing = lane('fire', alert, 10, promise);
    await eventually('the lane to have looked', async () => {
      const rows = await db.sql`SELECT FROM snoozes FOR UPDATE SKIP LOCKED`;
      return rows.length === 0;
    });
    if (end === 'time') {
      const isDue = async () => (await dueSnoozes(db.sql, 1)).length === 1;
      await eventually('its end', isDue, 20_000);
      expect(await endSnooze(db.sql, RULE)).toBe(false);
      resolve();
      await firing;
      expect(await endSnooze(db.sql, RULE)).toBe(true);
    } else {
      const ending = unsnooze(db.sql, { rule: RULE, actor });
      await waiting();
      resolve();
      await firing;
      expect(await ending).toBe(true);
    }
    const told = end === 'time' ? 'REMINDED' : 'UNSNOOZED';
    const seen = (await events()).filter((event) => event.includes(alert));
    expect(seen).toEqual([`~${alert} FIRED FIRING`, `${alert} ${told} FIRING`]);
    await lane('resolve', alert, 20);
    expect((await events()).at(-1)).toBe(`${alert} RESOLVED RESOLVED`);
  }
}, 60_000);

test('an alert that resolves while its snooze ends is not reminded of', async () => {
  await lane('fire', 'a');
  await snooze(db.sql, { rule: RULE, duration: HOUR, actor });
  await runOut();
  const { promise, resolve } = Promise.withResolvers<void>();
  const resolving = lane('resolve', 'a', 2, promise);
  await eventually('the lane to hold the alert', async () => {
    const rows = await db.sql`SELECT FROM alerts FOR UPDATE SKIP LOCKED`;
    return rows.length === 0;
  });
  const ending = endSnooze(db.sql, RULE);
  await waiting();
  resolve();
  await resolving;
  expect(await ending).toBe(true);
  expect(await events()).toEqual(['a FIRED FIRING', 'a SNOOZED FIRING', 'a RESOLVED RESOLVED']);
}, 60_000);
