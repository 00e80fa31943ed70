import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { Reading } from '../../src/domain/reading.ts';
import type { Micros } from '../../src/domain/time.ts';
import { createReadingFollower } from '../../src/engine/follow-readings.ts';
import { createReadingFeed, type ReadingFeed } from '../../src/engine/reading-feed.ts';
import { model } from '../../src/model.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { resetDeviceClock } from '../../src/store/reset-device-clock.ts';
import { seedReadings, silent, until } from '../schema/support.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

/** Above the deadline of each wait within. */
const TIMEOUT_MS = 20_000;
const T0 = 1_700_000_000_000_000;
const USER = 'user_1';
const APPLICATION = 'test-follower';

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await testDatabase();
  sql = connect(database.url, { max: 2, applicationName: APPLICATION });
  await seedReadings(database.sql, [{ time: T0, deviceId: 'nobody' }]);
}, 30_000);
afterAll(async () => {
  await sql.end({ timeout: 1 });
  await database.drop();
});

function reading(deviceId: string, time: Micros, sequenceId: number): Reading {
  const columns = { temperature: null, battery: null };
  return { time, userId: USER, deviceId, sequenceId, columns, extra: null };
}

/** Commits a batch as a lane does. A FUTURE reading does not move the newest time. */
async function store(readings: readonly Reading[], future: readonly Reading[] = []): Promise<void> {
  const deviceId = (readings[0] ?? future[0])?.deviceId as string;
  const newest = readings.length === 0 ? null : Math.max(...readings.map(({ time }) => time));
  await database.sql.begin(async (tx) => {
    await tx`INSERT INTO device_state AS d (user_id, device_id, partition, version, first_seen_at,
        newest_time, last_arrival_at, rules)
      VALUES (${USER}, ${deviceId}, 0, 1, now(), ${newest}::timestamptz, now(),
        '{"version": 0, "rules": {}}')
      ON CONFLICT (user_id, device_id) DO UPDATE SET version = d.version + 1,
        newest_time = greatest(d.newest_time, EXCLUDED.newest_time)`;
    await seedReadings(
      tx as never,
      [...readings, ...future].map(({ time, sequenceId }) => ({ time, deviceId, sequenceId })),
    );
  });
}

interface Watch {
  got: string[];
  leave: () => Promise<void>;
}

const named = ({ time, sequenceId }: Reading) => `${time - T0}/${sequenceId}`;

function watch(feed: ReadingFeed, deviceId: string): Watch {
  const left = new AbortController();
  const got: string[] = [];
  const over = (async () => {
    for await (const one of feed.watch({ userId: USER, deviceId }, left.signal)) {
      got.push(named(one));
    }
  })();
  return {
    got,
    leave: async () => {
      left.abort();
      await over;
    },
  };
}

/** Follows with its watches begun, so that all that is stored within comes to them. */
async function following(
  deviceIds: readonly string[],
  run: (feed: ReadingFeed, watches: Watch[]) => Promise<void>,
): Promise<void> {
  let rounds = 0;
  const counted = new Proxy(sql, {
    apply: (target, self, args) => {
      if (String(args[0]).includes('JOIN device_state')) rounds++;
      return Reflect.apply(target, self, args);
    },
  });
  const feed = createReadingFeed({ capacity: 10_000 });
  const follower = createReadingFollower(
    { feed, sql: counted, model, logger: silent },
    { pollIntervalMs: 20 },
  );
  follower.start();
  const watches = deviceIds.map((deviceId) => watch(feed, deviceId));
  try {
    await until(() => rounds >= 2);
    await run(feed, watches);
  } finally {
    follower.close();
    for (const { leave } of watches) await leave();
  }
}

test(
  'what another process stores comes by time, to its own watchers, and nothing of before',
  async () => {
    await store([reading('a', T0 + 5, 1), reading('a', T0 + 5, 2)]);
    await following(['a', 'b'], async (_, [a, b]) => {
      await store([reading('a', T0 + 9, 1), reading('a', T0 + 7, 1), reading('a', T0 + 5, 3)]);
      await store([reading('b', T0 + 1, 1)]);
      await until(() => a?.got.length === 3 && b?.got.length === 1);
      await store([reading('a', T0 + 9, 2)]);
      await until(() => a?.got.length === 4);
      expect(a?.got).toEqual(['5/3', '7/1', '9/1', '9/2']);
      expect(b?.got).toEqual(['1/1']);
    });
  },
  TIMEOUT_MS,
);

test(
  'a partition that goes and comes back: each reading once, whoever stored it',
  async () => {
    await following(['moving'], async (feed, [watched]) => {
      const all: string[] = [];
      for (let n = 1; n <= 60; n++) {
        const batch = [reading('moving', T0 + n * 10, n), reading('moving', T0 + n * 10 + 1, n)];
        const isLocal = n % 20 < 10;
        // A late one, which only this process's own lanes tell of.
        if (isLocal) batch.push(reading('moving', T0 + n, 1_000 + n));
        all.push(...batch.map(named));
        await store(batch);
        if (n % 7 === 0) await Bun.sleep(60);
        if (isLocal) feed.publish(batch);
      }
      await until(() => new Set(watched?.got).size >= all.length);
      await store([reading('moving', T0 + 5_000, 1)]);
      await until(() => watched?.got.at(-1) === '5000/1');
      expect(watched?.got.toSorted()).toEqual([...all, '5000/1'].toSorted());
    });
  },
  TIMEOUT_MS,
);

test(
  'a reading of the future hides none of the present, and comes once',
  async () => {
    await following(['future'], async (feed, [watched]) => {
      const future = [reading('future', T0 + 1_000, 1)];
      await store([reading('future', T0 + 1, 1)], future);
      feed.publish(future);
      await store([reading('future', T0 + 2, 1)]);
      await until(() => watched?.got.length === 3);
      await store([reading('future', T0 + 2_000, 1)]);
      await until(() => watched?.got.at(-1) === '2000/1');
      expect(watched?.got).toEqual(['1000/1', '1/1', '2/1', '2000/1']);
    });
  },
  TIMEOUT_MS,
);

test(
  'a backlog of many pages, and a database that is away meanwhile',
  async () => {
    await following(['much'], async (_, [watched]) => {
      const all = Array.from({ length: 1_000 }, (_, n) => reading('much', T0 + n, n));
      await store(all.slice(0, 500));
      await until(() => (watched?.got.length ?? 0) > 0);
      await database.sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE application_name = ${APPLICATION}`;
      await store(all.slice(500));
      await until(() => (watched?.got.length ?? 0) >= 1_000, 10_000);
      expect(watched?.got).toEqual(all.map(named));
    });
  },
  TIMEOUT_MS,
);

test(
  'who comes back gets what is stored from then on',
  async () => {
    await following(['gone'], async (feed, [watched]) => {
      await watched?.leave();
      expect(feed.watched()).toEqual([]);
      await store([reading('gone', T0 + 1, 1)]);
      const again = watch(feed, 'gone');
      const { got } = again;
      let n = 1;
      while (got.length === 0 && n < 200) {
        await store([reading('gone', T0 + ++n, 1)]);
        await Bun.sleep(10);
      }
      expect(got).not.toBeEmpty();
      expect(got[0]).not.toBe('1/1');
      await again.leave();
    });
  },
  TIMEOUT_MS,
);

test(
  'a device whose clock was reset is followed from its older readings on',
  async () => {
    await store([reading('reset', T0 + 500, 1)]);
    await following(['reset'], async (_, [watched]) => {
      await store([reading('reset', T0 + 600, 2)]);
      await until(() => watched?.got.length === 1, TIMEOUT_MS);
      await resetDeviceClock(database.sql, { userId: USER, deviceId: 'reset' });
      await store([reading('reset', T0 + 100, 3)]);
      await until(() => watched?.got.length === 2, TIMEOUT_MS);
      await store([reading('reset', T0 + 200, 4), reading('reset', T0 + 300, 5)]);
      await until(() => watched?.got.length === 4, TIMEOUT_MS);
      expect(watched?.got).toEqual(['600/2', '100/3', '200/4', '300/5']);
    });
  },
  2 * TIMEOUT_MS,
);
