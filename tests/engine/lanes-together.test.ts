import { afterEach, beforeEach, expect, test } from 'bun:test';
import { partitionOf } from '../../src/engine/sources/partitioner.ts';
import { eventually } from '../support/process.ts';
import {
  type EngineStage,
  engineStage,
  HOT,
  microsAt,
  type Sent,
  writeRules,
} from './engine-stage.ts';

const TIMEOUT_MS = 60_000;
const PARTITIONS = 4;
/** Of each partition one. */
const users = Array.from({ length: PARTITIONS }, (_, partition) => {
  const names = Array.from({ length: 100 }, (_, n) => `user${n}`);
  return names.find((user) => partitionOf(`${user}/d1`, PARTITIONS) === partition) as string;
});
const [held, ...others] = users as [string, ...string[]];

let stage: EngineStage;
beforeEach(async () => {
  stage = await engineStage({ partitions: PARTITIONS });
  const one = await stage.start();
  for (const user of users) await writeRules(stage.sql, user, [HOT], one);
  await sendAll({ at: 0, seq: 0, temperature: 20 });
  await stage.stored();
}, 30_000);
afterEach(() => stage.close(), 30_000);

const sendAll = (sent: Sent) => stage.send(...users.map((user) => ({ ...sent, user })));

/** How many of its readings and events are committed, by user. */
async function committed(): Promise<Record<string, string>> {
  const rows = await stage.sql<{ user_id: string; stored: string }[]>`
    SELECT user_id, concat_ws(' ', count(*), (
      SELECT string_agg(type, ' ' ORDER BY seq) FROM alert_events e WHERE e.user_id = r.user_id
    )) AS stored FROM raw_telemetry r GROUP BY user_id`;
  return Object.fromEntries(rows.map((row) => [row.user_id, row.stored]));
}

/** Until the others have this, and the one whose rules are held no more than before. */
const othersHave = (what: string) => async () => {
  const expected = Object.fromEntries(others.map((user) => [user, what]));
  return Bun.deepEquals(await committed(), { ...expected, [held]: '1' });
};

/** A lane's process, another than this, that waits for a lock. */
async function waitsForLock(besides: number): Promise<number | undefined> {
  const [row] = await stage.sql<{ pid: number }[]>`
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> ${besides}
      AND application_name = 'lane' AND wait_event_type = 'Lock'`;
  return row?.pid;
}

test(
  'where somebody holds the rules of one user, other lanes go on, and that one loses nothing',
  async () => {
    await stage.sql.begin(async (tx) => {
      await tx`SELECT FROM user_configs WHERE user_id = ${held} FOR UPDATE`;
      const released = Bun.sleep(3_000);
      await sendAll({ at: 1, seq: 1, temperature: 90 });
      await eventually('the others fire', othersHave('2 FIRED'), 1_500);
      await sendAll({ at: 2, seq: 2, temperature: 20 });
      await eventually('and resolve', othersHave('3 FIRED RESOLVED'), 1_000);
      await released;
    });
    await stage.stored();
    const all = Object.fromEntries(users.map((user) => [user, '3 FIRED RESOLVED']));
    expect(await committed()).toEqual(all);
  },
  TIMEOUT_MS,
);

test(
  'an alert moves also where its batch is refused in a group, and then written alone',
  async () => {
    await sendAll({ at: 1, seq: 1, temperature: 90 });
    await stage.stored();
    await stage.sql.begin(async (tx) => {
      await tx`SELECT FROM alerts WHERE user_id = ${held} FOR UPDATE`;
      await stage.send({ user: held, at: 2, seq: 2, temperature: 95 });
      const pid = await eventually('it waits', () => waitsForLock(0));
      await eventually('it waits alone', () => waitsForLock(pid), 3_000);
    });
    await stage.stored();
    const rows = await stage.sql`
      SELECT value, last_seen_at FROM alerts WHERE user_id = ${held}`;
    expect(rows).toEqual([{ value: 95, last_seen_at: microsAt(2) }] as never);
  },
  TIMEOUT_MS,
);
