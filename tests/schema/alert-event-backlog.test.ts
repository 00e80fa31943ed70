import { afterAll, beforeAll, expect, test } from 'bun:test';
import { type ExecutionResult, parse } from 'graphql';
import { model } from '../../src/model.ts';
import { createContext } from '../../src/schema/context.ts';
import { createSchema } from '../../src/schema/index.ts';
import { connect, type Sql } from '../../src/store/connection.ts';
import { LOCKS } from '../../src/store/migrations.ts';
import { commitEvent, type Stage, sharedSubscribe, stage, until } from './support.ts';

let on: Stage;
beforeAll(async () => {
  on = await stage();
}, 30_000);
afterAll(() => on.close());

/** Commits many events of the crowd in one transaction. */
async function crowd(prefix: string, count: number): Promise<void> {
  await on.sql`WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(${LOCKS.alertSeq}))
    INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id, rule_id,
      severity, message, time, started_at)
    SELECT nextval('alert_events_seq'), ${prefix} || '-' || i, 'alert', 'FIRED', 'FIRING',
      'crowd', 'dev_1', 'r', 'INFO', 'too hot', now(), now()
    FROM locked, generate_series(1, ${count}::int) i`;
}

let ids = 0;
const commit = (userId: string, sql: Sql = on.sql) =>
  commitEvent(sql, { id: `b${++ids}`, alertId: 'alert', userId });

interface Followed {
  next: () => Promise<{ seq?: number; code?: unknown }>;
  leave: () => Promise<unknown>;
}

/** A subscription that is pulled by hand, one event for each `next`. */
async function follow(args: string): Promise<Followed> {
  const events = (await sharedSubscribe()({
    schema: createSchema(model),
    document: parse(`subscription { alertEvents(${args}) { seq } }`),
    contextValue: createContext(on.deps, { kind: 'operator' }),
  })) as AsyncGenerator<ExecutionResult<{ alertEvents: { seq: number } }>>;
  if (!(Symbol.asyncIterator in events)) throw new Error(JSON.stringify(events));
  return {
    next: async () => {
      const { value } = await events.next();
      const code = value?.errors?.[0]?.extensions.code;
      return code === undefined ? { seq: value?.data?.alertEvents.seq } : { code };
    },
    leave: () => events.return(undefined),
  };
}

test("one user's backlog is read past the others' events, then goes on live", async () => {
  const mine = [await commit('ann')];
  await crowd('first', 3_000);
  mine.push(await commit('ann'));
  await crowd('second', 3_000);
  const last = await commit('bob');
  await until(() => on.tail.newest() === last);
  const owners: string[][] = [];
  const { read } = on.tail;
  on.tail.read = async (...range) => {
    const events = await read(...range);
    owners.push(events.map(({ userId }) => userId));
    return events;
  };
  try {
    const followed = await follow('after: 0, userId: "ann"');
    for (const seq of mine) expect(await followed.next()).toEqual({ seq });
    const pending = followed.next();
    const seq = await commit('ann');
    expect(await pending).toEqual({ seq });
    expect(owners).toEqual([['ann', 'ann'], ['ann']]);
    await followed.leave();
  } finally {
    on.tail.read = read;
  }
});

test("one user's events come without a gap while others commit", async () => {
  const writers = Array.from({ length: 3 }, () => connect(on.url, { max: 1 }));
  try {
    const from = on.tail.newest();
    await crowd('before', 1_000);
    let going = true;
    let committed = 0;
    const writing = writers.map(async (sql, n) => {
      for (let i = n; going; i++) {
        await commit(i % 3 === 0 ? 'gap' : 'crowd', sql);
        committed++;
      }
    });
    await until(() => committed > 100, 10_000);
    const followed = await follow(`after: ${from}, userId: "gap"`);
    const got: (number | undefined)[] = [];
    for (let n = 0; n < 60; n++) got.push((await followed.next()).seq);
    await crowd('within', 2_000);
    for (let n = 0; n < 60; n++) got.push((await followed.next()).seq);
    going = false;
    await Promise.all(writing);
    await followed.leave();
    const all = await on.sql<{ seq: number }[]>`
      SELECT seq FROM alert_events WHERE user_id = 'gap' ORDER BY seq LIMIT 120`;
    expect(got).toEqual(all.map(({ seq }) => seq));
  } finally {
    await Promise.all(writers.map((sql) => sql.end({ timeout: 1 })));
  }
}, 30_000);

test('a reader whose next events were taken away is told so, and the next one just waits', async () => {
  const from = on.tail.newest();
  // More than the tail holds in memory.
  await crowd('vanishing', 13_000);
  await until(() => on.tail.newest() >= from + 13_000, 20_000);
  const followed = await follow(`after: ${from}`);
  let last = await followed.next();
  await on.sql`TRUNCATE alert_events`;
  for (let n = 0; n < 600 && last.code === undefined; n++) last = await followed.next();
  expect(last).toEqual({ code: 'OUT_OF_RANGE' });
  const again = await follow('minSeverity: INFO');
  const pending = again.next();
  const seq = await commit('ann');
  expect(await pending).toEqual({ seq });
  await again.leave();
}, 30_000);
