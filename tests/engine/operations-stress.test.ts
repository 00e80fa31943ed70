import { afterEach, beforeEach, expect, test } from 'bun:test';
import { acknowledge } from '../../src/store/acknowledge.ts';
import { connect } from '../../src/store/connection.ts';
import { dueSnoozes, endSnooze } from '../../src/store/end-snoozes.ts';
import { snooze } from '../../src/store/snooze.ts';
import { unsnooze } from '../../src/store/unsnooze.ts';
import { type EngineStage, engineStage, HOT, writeRules } from './engine-stage.ts';

/** Lanes, people and the end of snoozes at the same alerts, all at once. */

const DEVICES = 6;
const READINGS = 200;
const MAX_READINGS = 5_000;
const CALM = { ...HOT, id: 'calm', operator: '<', threshold: 50 };

let stage: EngineStage;
beforeEach(async () => {
  stage = await engineStage({ partitions: 2 });
}, 60_000);
afterEach(() => stage.close(), 60_000);

/** The same choices each time, whatever comes of them. */
function choices(seed: number) {
  let state = seed;
  return (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

test('nobody waits in a circle, and MQTT is left with no alert that has ended', async () => {
  const engine = await stage.start({ options: { policy: { maxRows: 20, maxWaitMs: 5 } } });
  await writeRules(stage.sql, 'ann', [HOT, CALM], engine);
  const pool = connect(stage.db.url, { max: 6, applicationName: 'operations' });
  const failures: unknown[] = [];
  let sending = true;

  async function operator(number: number): Promise<void> {
    const choose = choices(number + 1);
    for (let done = 0; sending || done < 20; done++) {
      const deviceId = `d${choose(DEVICES)}`;
      const rule = { userId: 'ann', deviceId, ruleId: choose(2) === 0 ? 'hot' : 'calm' };
      // Some last for ever, some end while lanes write.
      const micros = choose(3) === 0 ? 3_600_000_000 : 1_000 + choose(200_000);
      const duration = { months: 0, days: 0, micros };
      const work = [
        () => snooze(pool, { rule, duration, actor: 'ann' }),
        () => snooze(pool, { rule, duration, actor: 'ann' }),
        () => unsnooze(pool, { rule, actor: 'ann' }),
        () => acknowledge(pool, { alert: rule, actor: 'ann' }),
      ][choose(4)];
      await work?.().catch((error) => failures.push(error));
    }
  }
  async function ender(): Promise<void> {
    while (sending) {
      for (const rule of await dueSnoozes(pool, 20)) {
        await endSnooze(pool, rule).catch((error) => failures.push(error));
      }
      await Bun.sleep(5);
    }
  }
  const others = [operator(0), operator(1), operator(2), ender(), ender()];
  // On a quick machine all is over before a snooze has ended in time for a reminder.
  for (let n = 0; n < READINGS || (n < MAX_READINGS && !(await reminded())); n++) {
    await stage.send(
      ...Array.from({ length: DEVICES }, (_, d) => ({
        ...{ user: 'ann', device: `d${d}`, at: n, seq: n },
        temperature: (n + d) % 2 === 0 ? 99 : 20,
      })),
    );
    await Bun.sleep(2);
  }
  await stage.stored();
  sending = false;
  await Promise.all(others);
  await pool.end({ timeout: 1 });

  expect(failures).toEqual([]);
  expect(engine.lines.filter((line) => /deadlock|waiting for the database/.test(line))).toEqual([]);
  const counts = await check();
  // It was worth it: there was something of everything.
  for (const type of [
    'FIRED',
    'RESOLVED',
    'SNOOZED',
    'UNSNOOZED',
    'ACKNOWLEDGED',
    '~FIRED',
    'REMINDED',
  ]) {
    expect([type, counts.get(type) ?? 0]).not.toEqual([type, 0]);
  }
}, 120_000);

async function reminded(): Promise<boolean> {
  const rows = await stage.sql`SELECT FROM alert_events WHERE type = 'REMINDED' LIMIT 1`;
  return rows.length > 0;
}

/** Each alert as MQTT sees it: nothing, or from firing on to its end. Gives how many of each type. */
async function check(): Promise<Map<string, number>> {
  const rows = await stage.sql<
    { alert_id: string; type: string; status: string; muted: boolean; resolved: boolean }[]
  >`SELECT e.alert_id, e.type, e.status, e.muted, a.status = 'RESOLVED' AS resolved
    FROM alert_events e JOIN alerts a ON a.id = e.alert_id ORDER BY e.seq`;
  const counts = new Map<string, number>();
  for (const { type, muted } of rows) {
    const name = `${muted ? '~' : ''}${type}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  for (const [alertId, events] of Map.groupBy(rows, (row) => row.alert_id)) {
    const types = events.map(({ type }) => type);
    expect([alertId, types[0]]).toEqual([alertId, 'FIRED']);
    for (const once of ['FIRED', 'RESOLVED', 'ACKNOWLEDGED']) {
      const times = types.filter((type) => type === once).length;
      expect([alertId, once, times > 1]).toEqual([alertId, once, false]);
    }
    const told = events.filter(({ muted }) => !muted);
    const wasFiring = told.some(({ status }) => status === 'FIRING');
    const end = told.findIndex(({ type }) => type === 'RESOLVED');
    const shouldEnd = wasFiring && events.some(({ resolved }) => resolved);
    expect([alertId, types, end !== -1]).toEqual([alertId, types, shouldEnd]);
    const later = end === -1 ? [] : told.slice(end).filter(({ status }) => status === 'FIRING');
    expect([alertId, later]).toEqual([alertId, []]);
  }
  return counts;
}
