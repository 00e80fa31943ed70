import { Database } from 'bun:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { PartitionReader } from '../../src/domain/log.ts';
import { eventually } from '../support/process.ts';
import { type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';
import {
  type EngineStage,
  engineStage,
  GROUP,
  HOT,
  message,
  microsAt,
  OPTIONS,
  type RunningEngine,
  type Sent,
  writeRules,
} from './engine-stage.ts';

let stage: EngineStage;
let proxy: TcpProxy | null = null;
beforeEach(async () => {
  stage = await engineStage();
}, 30_000);
afterEach(async () => {
  await stage.close();
  await proxy?.close();
  proxy = null;
}, 30_000);

const TIMEOUT_MS = 40_000;
/** One device's minute by minute: hot from 10 to 19, from 30 to 39 and so on. */
const series = (from: number, to: number, more: Partial<Sent> = {}): Sent[] =>
  Array.from({ length: to - from }, (_, n) => {
    const seq = from + n;
    return { at: seq / 10, seq, temperature: Math.floor(seq / 10) % 2 === 1 ? 90 : 20, ...more };
  });
const transitionsOf = (to: number, device = 'd1') =>
  Array.from(
    { length: Math.ceil(to / 10) - 1 },
    (_, n) => `${n % 2 === 0 ? 'FIRED' : 'RESOLVED'} hot ${device} @ ${n + 1}`,
  );

async function expectOnce(to: number): Promise<void> {
  await stage.stored();
  expect(await stage.count('raw_telemetry')).toBe(to);
  expect(await stage.events()).toEqual(transitionsOf(to));
  expect(await stage.count("alerts WHERE status = 'FIRING'")).toBe(transitionsOf(to).length % 2);
}

async function started(how: Parameters<EngineStage['start']>[0] = {}): Promise<RunningEngine> {
  const one = await stage.start(how);
  await writeRules(stage.sql, 'ann', [HOT], one);
  return one;
}

async function laneWaitsForLock(): Promise<number> {
  return await eventually('a lane waits for a lock', async () => {
    const [row] = await stage.sql`
      SELECT pid FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'lane' AND wait_event_type = 'Lock'`;
    return row?.pid as number;
  });
}

/** A second log under the first one's id, as a topic that was deleted and made again. */
async function newLog() {
  const file = `${stage.logs.file}.new`;
  await (await stage.logs.open({ file, partitions: 1 })).close();
  const db = new Database(file);
  db.run("UPDATE meta SET value = ? WHERE name = 'log_id'", [stage.log.logId]);
  db.close();
  return await stage.logs.open({ file, partitions: 1 });
}

describe('where a lane begins', () => {
  test(
    'a group that was reset to 0 replays: nothing is stored twice, no rule runs again',
    async () => {
      const one = await started();
      await stage.send(...series(0, 250));
      await expectOnce(250);
      await one.stop();
      await stage.sql`DELETE FROM raw_telemetry WHERE sequence_id % 3 = 0`;
      await stage.log.close();
      const db = new Database(stage.logs.file);
      db.run('UPDATE commits SET next = 0');
      db.close();
      stage.log = await stage.logs.open({ partitions: 1 });
      const again = await stage.start({ log: stage.log });
      const device = { userId: 'ann', deviceId: 'd1' };
      const seen: number[] = [];
      const watching = new AbortController();
      const watch = (async () => {
        for await (const { sequenceId } of again.engine.feed.watch(device, watching.signal)) {
          seen.push(sequenceId);
        }
      })();
      await Promise.all(series(250, 300).map((one) => stage.log.append(message(one))));
      await stage.stored(stage.log);
      expect(await stage.count('raw_telemetry')).toBe(300);
      expect(await stage.events()).toEqual(transitionsOf(300));
      expect(again.engine.status().counters).toMatchObject({ replay: 250, live: 50, gaps: 0 });
      await eventually('the new readings were seen', () => seen.length >= 50);
      watching.abort();
      await watch;
      expect(seen).toEqual(Array.from({ length: 50 }, (_, n) => 250 + n));
    },
    TIMEOUT_MS,
  );

  test(
    'a replay that is interrupted goes on where it was',
    async () => {
      const one = await started();
      await stage.send(...series(0, 150), { at: 15, seq: 150, more: '"x":1e999999' });
      await stage.send(...series(151, 500));
      await stage.stored();
      const events = await stage.events();
      expect(events.length).toBeGreaterThan(40);
      await one.stop();
      await stage.sql`DELETE FROM raw_telemetry`;
      await stage.log.close();
      const db = new Database(stage.logs.file);
      db.run('UPDATE commits SET next = 0');
      db.close();
      stage.log = await stage.logs.open({ partitions: 1 });
      // The row that the database refuses is met again, and its batch is read again.
      await stage.start({ log: stage.log });
      await stage.stored(stage.log);
      expect(await stage.count('raw_telemetry')).toBe(499);
      expect(await stage.count('dead_letters')).toBe(1);
      expect(await stage.events()).toEqual(events);
    },
    TIMEOUT_MS,
  );

  test.each([
    [20, 'ends below the watermark'],
    [50, 'ends where the watermark stands'],
    [51, 'ends just above the watermark'],
    [120, 'has grown past the watermark'],
  ])(
    'a new log under the old name is read from its beginning: %i records, %s',
    async (records) => {
      const one = await started();
      await stage.send(...series(0, 51));
      await expectOnce(51);
      await one.stop();
      const log = await newLog();
      await Promise.all(series(51, 51 + records).map((sent) => log.append(message(sent))));
      const other = await stage.start({ log });
      await stage.stored(log);
      expect(await stage.count('raw_telemetry')).toBe(51 + records);
      expect(await stage.events()).toEqual(transitionsOf(51 + records));
      expect(
        other.lines.filter((line) => line.includes('a new log under the old name')),
      ).toHaveLength(1);
      const [row] = await stage.sql`SELECT watermark FROM watermarks`;
      expect(row?.watermark).toBe(records - 1);
    },
    TIMEOUT_MS,
  );
});

test(
  'a new log whose first records are long in coming is read from its beginning all the same',
  async () => {
    const one = await started();
    await stage.send(...series(0, 51));
    await expectOnce(51);
    await one.stop();
    const log = await newLog();
    await Promise.all(series(51, 151).map((sent) => log.append(message(sent))));
    const wrap = (reader: PartitionReader): PartitionReader => {
      // As a broker that takes its time: the first two answers come after the wait.
      let late = 2;
      return { ...reader, read: async (n, ms) => (late-- > 0 ? [] : reader.read(n, ms)) };
    };
    await stage.start({ log, wrap });
    await stage.stored(log);
    expect(await stage.count('raw_telemetry')).toBe(151);
    expect(await stage.events()).toEqual(transitionsOf(151));
  },
  TIMEOUT_MS,
);

describe('the fence', () => {
  test(
    'two engines on one log store and fire everything once between them',
    async () => {
      const one = await started();
      const two = await stage.start();
      for (let from = 0; from < 2_000; from += 100) await stage.send(...series(from, from + 100));
      await expectOnce(2_000);
      expect(one.engine.status().lanes[0]?.state).toBe('RUNNING');
      expect(two.engine.status().lanes[0]?.state).toBe('RUNNING');
    },
    TIMEOUT_MS,
  );

  test(
    'a watermark that moved behind the back drops the batch and all behind it',
    async () => {
      const one = await started();
      await stage.send(...series(0, 50));
      await stage.stored();
      await stage.sql.begin(async (tx) => {
        await tx`UPDATE watermarks SET watermark = 59`;
        await stage.send(...series(50, 80));
        await laneWaitsForLock();
      });
      await stage.stored();
      expect(await stage.count('raw_telemetry')).toBe(70);
      expect(one.engine.status().counters.rewinds).toBeGreaterThan(0);
      // What another lane had evaluated is not known here: 50 was seen cold, 60 cold, 70 hot.
      expect(await stage.events()).toEqual([...transitionsOf(50), 'FIRED hot d1 @ 7']);
    },
    TIMEOUT_MS,
  );

  test(
    'a device state that moved behind the back rolls everything back, alerts included',
    async () => {
      const one = await started();
      await stage.send({ device: 'a', at: 1, seq: 1, temperature: 90 });
      await stage.send({ device: 'b', at: 1, seq: 1, temperature: 20 });
      await stage.send({ device: 'c', at: 1, seq: 1, temperature: 90 });
      await stage.stored();
      // Another writer has taken a reading of a at 100 s into account, and something about b.
      await stage.sql`
        UPDATE device_state SET version = version + 5,
          rules = jsonb_set(rules, '{rules,hot,time}', ${String(microsAt(100))}::text::jsonb)
        WHERE device_id = 'a'`;
      await stage.sql`UPDATE device_state SET version = version + 5 WHERE device_id = 'b'`;
      // Fires on b, holds on c, and would resolve on a, were its reading not LATE by now.
      await stage.send(
        { device: 'b', at: 2, seq: 2, temperature: 90 },
        { device: 'c', at: 2, seq: 2, temperature: 91 },
        { device: 'a', at: 3, seq: 3, temperature: 20 },
      );
      await stage.stored();
      const fired = ['FIRED hot a @ 1', 'FIRED hot c @ 1', 'FIRED hot b @ 2'];
      expect(await stage.events()).toEqual(fired);
      const alerts = await stage.sql`SELECT device_id, status FROM alerts ORDER BY device_id`;
      expect(alerts.map((row) => Object.values(row))).toEqual([
        ['a', 'FIRING'],
        ['b', 'FIRING'],
        ['c', 'FIRING'],
      ]);
      expect(one.engine.status().counters.rewinds).toBe(1);
      const states =
        await stage.sql`SELECT device_id, version FROM device_state ORDER BY device_id`;
      expect(states.map((row) => Object.values(row))).toEqual([
        ['a', 7],
        ['b', 7],
        ['c', 2],
      ]);
    },
    TIMEOUT_MS,
  );

  test(
    'a COMMIT whose answer is lost is found to have happened, at once',
    async () => {
      proxy = await tcpProxy(stage.db.url);
      const policy = { ...OPTIONS.policy, smallRows: 0 };
      await started({ laneUrl: proxy.url, options: { policy } });
      await stage.send(...series(0, 15));
      await stage.stored();
      const cut = proxy.cutAfter('commit');
      await stage.send(...series(15, 25));
      await cut;
      const since = performance.now();
      await expectOnce(25);
      expect(performance.now() - since).toBeLessThan(5_000);
      const next = proxy.cutAfter('COPY');
      await stage.send(...series(25, 35));
      await next;
      await expectOnce(35);
    },
    TIMEOUT_MS,
  );
});

describe('stopping', () => {
  test(
    'writes all that was read',
    async () => {
      const one = await started({ options: { policy: { maxRows: 1_000, maxWaitMs: 60_000 } } });
      await stage.send(...series(0, 10));
      await eventually('it was read', () => one.read() === 10);
      expect(await stage.count('raw_telemetry')).toBe(0);
      await one.stop();
      expect(await stage.count('raw_telemetry')).toBe(10);
      expect(one.engine.status().lanes).toEqual([]);
    },
    TIMEOUT_MS,
  );

  test.each(['reading', 'idle', 'starting'])(
    'returns by its deadline with a database that hangs while %s, and nothing is lost',
    async (state) => {
      proxy = await tcpProxy(stage.db.url);
      if (state === 'starting') proxy.freeze();
      const one = await started({ laneUrl: proxy.url });
      if (state !== 'starting') {
        await stage.send(...series(0, 25));
        await stage.stored();
      }
      proxy.freeze();
      if (state === 'reading') {
        const before = one.read();
        await stage.send(...series(25, 60));
        // Unless it hangs before that, in a look for what the rules have changed.
        const wasRead = () => one.read() > before;
        await eventually('some was read', wasRead, 2_000).catch(() => {});
      }
      const since = performance.now();
      await one.engine.stop(500);
      expect(performance.now() - since).toBeLessThan(2_000);
      await one.stop(0);
      proxy.thaw();
      if (state !== 'reading') await stage.send(...series(state === 'idle' ? 25 : 0, 60));
      await stage.start();
      await expectOnce(60);
    },
    TIMEOUT_MS,
  );

  test(
    'is not held up by a lock that another holds',
    async () => {
      const one = await started();
      await stage.send(...series(0, 25));
      await stage.stored();
      await stage.sql.begin(async (tx) => {
        await tx`SELECT FROM watermarks FOR UPDATE`;
        await stage.send(...series(25, 60));
        await laneWaitsForLock();
        const since = performance.now();
        await one.stop(300);
        expect(performance.now() - since).toBeLessThan(2_000);
      });
      await stage.start();
      await expectOnce(60);
    },
    TIMEOUT_MS,
  );
});

test(
  'every transaction of a lane bounds its waits on the server',
  async () => {
    await stage.sql.unsafe(`
      CREATE TABLE waits (what text, bound text);
      CREATE FUNCTION note_bound() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO waits VALUES (TG_OP, concat_ws(' ', current_setting('statement_timeout'),
          current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')));
        RETURN NEW;
      END $$;
      CREATE TRIGGER note_bound BEFORE INSERT OR UPDATE ON watermarks
        FOR EACH ROW EXECUTE FUNCTION note_bound();
      CREATE FUNCTION refuse_seven() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.sequence_id = 7 THEN
          RAISE EXCEPTION 'bound %', current_setting('lock_timeout') USING ERRCODE = '22000';
        END IF;
        RETURN NEW;
      END $$;
      CREATE TRIGGER refuse_seven BEFORE INSERT ON raw_telemetry
        FOR EACH ROW EXECUTE FUNCTION refuse_seven()`);
    const one = await started();
    await stage.send(...series(0, 51));
    await stage.stored();
    await one.stop();
    // The search for the refused row, then a watermark that is reset.
    const [letter] = await stage.sql`SELECT detail FROM dead_letters`;
    expect(letter?.detail).toBe('bound 15s');
    await stage.sql`DELETE FROM waits`;
    const log = await newLog();
    await log.append(message({ at: 5.1, seq: 51 }));
    await stage.start({ log });
    await stage.stored(log);
    const waits = await stage.sql`SELECT what, bound FROM waits ORDER BY what`;
    // Alone, or with batches of others.
    const bounds = ['15s 15s 15s', '3s 500ms 3s'];
    expect(waits.filter(({ what }) => what === 'INSERT').length).toBeGreaterThan(0);
    expect(waits.filter(({ what }) => what === 'UPDATE').length).toBeGreaterThan(1);
    expect(waits.filter((wait) => !bounds.includes(wait.bound))).toEqual([]);
  },
  TIMEOUT_MS,
);

test('a log read by another group is no concern of ours', async () => {
  await started();
  stage.log.attach('other');
  await stage.send(...series(0, 10));
  await eventually('stored', async () => (await stage.count('raw_telemetry')) === 10);
  expect(stage.log.committed(GROUP, 0)).toBe(10);
});
