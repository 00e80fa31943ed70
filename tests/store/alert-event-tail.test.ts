import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { AlertEvent } from '../../src/domain/alert.ts';
import {
  type AlertEventTail,
  createAlertEventTail,
  PrunedError,
} from '../../src/store/alert-event-tail.ts';
import { alertEventsAfter } from '../../src/store/alert-events-after.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { pruneAlertEvents } from '../../src/store/prune-alert-events.ts';
import { commitEvent, silent, until } from '../schema/support.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

let database: TestDatabase;
let sql: Sql;
const never = new AbortController().signal;

beforeAll(async () => {
  database = await testDatabase();
  sql = database.sql;
}, 30_000);
afterAll(() => database.drop());

let ids = 0;
const commit = (on: Sql = sql) => commitEvent(on, { id: `t${++ids}`, alertId: 'a' });

async function following(
  options: { capacity?: number; pollIntervalMs?: number; sql?: Sql } = {},
  run: (tail: AlertEventTail) => Promise<void>,
): Promise<void> {
  const tail = createAlertEventTail({ sql, logger: silent, pollIntervalMs: 20, ...options });
  await tail.start();
  try {
    await run(tail);
  } finally {
    await tail.close();
  }
}

test('an event of another connection is seen by polling, one of ours by a poke', async () => {
  await following({}, async (tail) => {
    const seq = await commit();
    await tail.wait(seq - 1, never);
    expect(tail.newest()).toBe(seq);
  });
  await following({ pollIntervalMs: 60_000 }, async (tail) => {
    const seq = await commit();
    tail.poke();
    await tail.wait(seq - 1, never);
    expect((await tail.read(seq - 1, 10)).map((event) => event.seq)).toEqual([seq]);
  });
});

test('no poke is lost, whenever it comes', async () => {
  await following({ pollIntervalMs: 60_000 }, async (tail) => {
    for (let n = 0; n < 200; n++) {
      const seq = await commit();
      tail.poke();
      await tail.wait(seq - 1, never);
    }
  });
}, 20_000);

test('events handed over are heard of without a read, where they are the next', async () => {
  const gone = connect(database.url, { max: 1 });
  const tail = createAlertEventTail({ sql: gone, logger: silent, pollIntervalMs: 60_000 });
  await tail.start();
  await gone.end();
  const before = tail.newest();
  const seqs = [await commit(), await commit(), await commit()];
  const [first, second, third] = (await alertEventsAfter(sql, { after: before, limit: 3 })) as [
    AlertEvent,
    AlertEvent,
    AlertEvent,
  ];
  try {
    const waiting = tail.wait(before, never, first.userId);
    tail.committed([first, second]);
    expect(await waiting).toBe(before);
    expect((await tail.read(before, 10)).map((event) => event.seq)).toEqual(seqs.slice(0, 2));
    tail.committed([first, second]);
    tail.committed([{ ...third, seq: third.seq + 2 }]);
    tail.committed([{ ...third, seq: third.seq + 1 }]);
    expect(tail.newest()).toBe(second.seq);
    tail.committed([third]);
    expect(tail.newest()).toBe(third.seq + 2);
    const all = [...seqs, third.seq + 1, third.seq + 2];
    expect((await tail.read(before, 10)).map((event) => event.seq)).toEqual(all);
  } finally {
    await tail.close();
  }
});

test('handed over behind an event that stays away: it is looked for', async () => {
  await following({ pollIntervalMs: 60_000 }, async (tail) => {
    await commit();
    const own = await commit();
    const [event] = await alertEventsAfter(sql, { after: own - 1, limit: 1 });
    tail.committed([event as AlertEvent]);
    await tail.wait(own - 1, never);
    expect((await tail.read(own - 2, 10)).map(({ seq }) => seq)).toEqual([own - 1, own]);
  });
});

test('a notification of what is handed over in a moment reads nothing', async () => {
  const gone = connect(database.url, { max: 1 });
  const faults: string[] = [];
  const logger = { warn: () => faults.push('warn'), info: () => {} };
  const tail = createAlertEventTail({ sql: gone, logger, pollIntervalMs: 60_000 });
  await tail.start();
  await gone.end();
  try {
    const seq = await commit();
    const [event] = await alertEventsAfter(sql, { after: seq - 1, limit: 1 });
    tail.poke(seq);
    tail.committed([event as AlertEvent]);
    await Bun.sleep(50);
    expect(faults).toEqual([]);
    tail.poke(seq + 1);
    await until(() => faults.length === 1, 10_000);
  } finally {
    await tail.close();
  }
});

test('handed over behind events of others, or while they are read: each is there once', async () => {
  await following({ pollIntervalMs: 60_000 }, async (tail) => {
    const from = tail.newest();
    const seqs: number[] = [];
    for (let n = 0; n < 100; n++) {
      seqs.push(await commit());
      const own = await commit();
      seqs.push(own);
      const [event] = await alertEventsAfter(sql, { after: own - 1, limit: 1 });
      // Every other time the read that another's notification began is on its way.
      if (n % 2 === 0) tail.poke(own - 1);
      if (n % 4 === 0) await Bun.sleep(0);
      tail.committed([event as AlertEvent]);
    }
    await until(() => tail.newest() === seqs.at(-1), 10_000);
    expect((await tail.read(from, 1_000)).map((event) => event.seq)).toEqual(seqs);
  });
}, 20_000);

test('what memory no longer holds comes from the database, in order and without a gap', async () => {
  await following({ capacity: 8 }, async (tail) => {
    const from = tail.newest();
    const seqs: number[] = [];
    for (let n = 0; n < 40; n++) seqs.push(await commit());
    await tail.wait((seqs.at(-1) as number) - 1, never);
    for (const limit of [1, 3, 7, 100]) {
      const read: number[] = [];
      while ((read.at(-1) ?? from) < tail.newest()) {
        const page = await tail.read(read.at(-1) ?? from, limit);
        expect(page.length).toBeLessThanOrEqual(limit);
        read.push(...page.map((event) => event.seq));
      }
      expect(read).toEqual(seqs);
    }
  });
});

test('waiting ends by its signal, by what is there already, and by the end of the tail', async () => {
  const tail = createAlertEventTail({ sql, logger: silent, pollIntervalMs: 20 });
  await tail.start();
  await tail.wait(tail.newest() - 1, never);
  const left = new AbortController();
  const waiting = tail.wait(tail.newest(), left.signal);
  left.abort();
  await waiting;
  const refused = tail.wait(tail.newest(), never);
  refused.catch(() => {});
  await tail.close();
  await expect(refused).rejects.toThrow('closed');
});

test('a database that comes back is followed again, with nothing left out', async () => {
  const own = connect(database.url, { max: 1, applicationName: 'tail-outage' });
  try {
    await following({ sql: own }, async (tail) => {
      const from = tail.newest();
      const seqs: number[] = [];
      for (let n = 0; n < 5; n++) {
        await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name = 'tail-outage'`;
        seqs.push(await commit());
      }
      await until(() => tail.newest() === seqs.at(-1), 10_000);
      expect((await tail.read(from, 100)).map((event) => event.seq)).toEqual(seqs);
    });
  } finally {
    await own.end({ timeout: 0 });
  }
}, 20_000);

test('what is deleted is not passed over in silence', async () => {
  await following({ capacity: 4 }, async (tail) => {
    const from = tail.newest();
    for (let n = 0; n < 10; n++) await commit();
    await until(() => tail.newest() === from + 10);
    await sql`UPDATE alert_events SET published_at = now() WHERE seq <= ${from + 3}`;
    const future = (Date.now() + 60_000) * 1_000;
    expect(await pruneAlertEvents(sql, { before: future })).toBe(from + 3);
    await expect(tail.read(from, 100)).rejects.toBeInstanceOf(PrunedError);
    expect((await tail.read(from + 3, 100)).map((event) => event.seq)[0]).toBe(from + 4);
    expect(await pruneAlertEvents(sql, { before: future })).toBe(0);
  });
});

test("who waits for one user's events sleeps through the others', and reads on behind them", async () => {
  await following({}, async (tail) => {
    const from = tail.newest();
    const events: number[] = [];
    const waiting = tail.wait(from, never, 'ann').then((readFrom) => events.push(readFrom));
    const other = await commitEvent(sql, { id: `t${++ids}`, alertId: 'a', userId: 'bob' });
    await tail.wait(other - 1, never);
    await Promise.resolve();
    expect(events).toEqual([]);
    const seq = await commitEvent(sql, { id: `t${++ids}`, alertId: 'a', userId: 'ann' });
    await waiting;
    expect(events).toEqual([seq - 1]);
    expect((await tail.read(from, 10, 'ann')).map((event) => event.seq)).toEqual([seq]);
    // Also for who asks only now, with the others' events before it passed over.
    expect(await tail.wait(from, never, 'ann')).toBe(seq - 1);
    expect(await tail.wait(from, AbortSignal.timeout(50), 'eve')).toBe(from);
  });
});
