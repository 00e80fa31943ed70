import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { RejectReason } from '../../src/domain/reading.ts';
import { eventually } from '../support/process.ts';
import {
  type EngineStage,
  engineStage,
  HOT,
  message,
  microsAt,
  type Sent,
  writeRules,
} from './engine-stage.ts';

let stage: EngineStage;
beforeEach(async () => {
  stage = await engineStage();
}, 30_000);
afterEach(() => stage.close(), 30_000);

const TIMEOUT_MS = 30_000;
const readings = (from: number, to: number, more: Partial<Sent> = {}): Sent[] =>
  Array.from({ length: to - from }, (_, n) => ({ at: (from + n) / 10, seq: from + n, ...more }));

async function storedKeys(): Promise<string[]> {
  const rows = await stage.sql<{ device_id: string; sequence_id: number }[]>`
    SELECT device_id, sequence_id FROM raw_telemetry ORDER BY device_id, sequence_id`;
  return rows.map((row) => `${row.device_id}/${row.sequence_id}`);
}

async function deadLetters() {
  return await stage.sql<
    { offset: number; topic: string | null; reason: RejectReason; payload: Uint8Array }[]
  >`SELECT "offset", topic, reason, payload FROM dead_letters ORDER BY "offset"`;
}

describe('storing', () => {
  test(
    'thousands of readings of many devices, each once, with every column',
    async () => {
      const { engine } = await stage.start();
      const devices = ['a', 'b', 'c\t\\d'];
      const sent = devices.flatMap((device) =>
        readings(0, 1_000, { device, temperature: 20.5, more: '"n":12345678901234567890' }),
      );
      await stage.send(...sent);
      await stage.stored();
      expect(await stage.count('raw_telemetry')).toBe(3_000);
      const [row] = await stage.sql`
        SELECT time, temperature, battery, extra_data::text AS extra FROM raw_telemetry
        WHERE device_id = ${'c\t\\d'} AND sequence_id = 999`;
      expect(row).toEqual({
        time: microsAt(99.9),
        temperature: 20.5,
        battery: null,
        extra: '{"n": 12345678901234567890}',
      });
      expect(engine.status().counters).toMatchObject({ records: 3_000, live: 3_000, rewinds: 0 });
      expect(engine.status().lanes).toMatchObject([{ state: 'RUNNING', lag: 0, watermark: 2_999 }]);
    },
    TIMEOUT_MS,
  );

  test(
    'the same reading again, within a batch and batches apart, stops nothing and is stored once',
    async () => {
      const { engine } = await stage.start();
      await stage.send(...readings(0, 50), ...readings(0, 50));
      await stage.stored();
      await stage.send(...readings(25, 75));
      await stage.stored();
      await stage.send(...readings(0, 100));
      await stage.stored();
      expect(await stage.count('raw_telemetry')).toBe(100);
      expect(engine.status().counters).toMatchObject({ rewinds: 0, deadLetters: 0 });
      expect(engine.status().lanes[0]?.state).toBe('RUNNING');
    },
    TIMEOUT_MS,
  );

  test(
    'a reading that is not one becomes a dead letter with its bytes, and its neighbours are stored',
    async () => {
      await stage.start();
      const topic = 'users/ann/devices/d1/telemetry';
      const valid = Buffer.from(message({ at: 1, seq: 1 }).value).toString();
      const bad: [RejectReason, string, string | Uint8Array][] = [
        ['BAD_JSON', topic, '{"a":'],
        ['BAD_JSON', topic, ''],
        ['BAD_ENCODING', topic, new Uint8Array([0x7b, 0xff, 0x00, 0x7d])],
        ['BAD_TOPIC', 'users/ann/telemetry', valid],
        // Half of the emoji lies behind the thousandth character.
        ['BAD_TOPIC', `${'x'.repeat(999)}😀/telemetry`, valid],
        ['TOO_LARGE', topic, `{"x":"${'x'.repeat(70_000)}"}`],
        ['MISSING_FIELD', topic, '{}'],
        ['WRONG_TYPE', topic, valid.replace('"sequence_id":1', '"sequence_id":"1"')],
        ['OUT_OF_RANGE', topic, valid.replace('}', ',"battery":101}')],
        ['DEVICE_MISMATCH', topic, valid.replace('}', ',"device_id":"d2"}')],
        ['TIME_OUT_OF_RANGE', topic, '{"time":0,"sequence_id":1}'],
        ['UNSTORABLE_TEXT', topic, valid.replace('}', ',"x":"\\u0000"}')],
        ['UNSTORABLE_TEXT', topic, valid.replace('}', `,"${'é'.repeat(900)}😀\\ud800":1}`)],
        ['REFUSED_BY_DATABASE', topic, valid.replace('}', ',"x":1e999999}')],
      ];
      await stage.send({ at: 100, seq: 100 });
      for (const [, to, value] of bad) {
        const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
        await stage.log.append({ topic: to, key: 'ann/d1', value: bytes });
      }
      await stage.send({ at: 101, seq: 101 });
      await stage.stored();
      expect(await storedKeys()).toEqual(['d1/100', 'd1/101']);
      const letters = await deadLetters();
      expect(letters.map(({ reason }) => reason)).toEqual(bad.map(([reason]) => reason));
      for (const [index, letter] of letters.entries()) {
        const [, to, value] = bad[index] as (typeof bad)[0];
        expect(letter.offset).toBe(index + 1);
        expect(Buffer.compare(letter.payload, Buffer.from(value))).toBe(0);
        expect(to.startsWith((letter.topic as string).slice(0, 900))).toBe(true);
      }
    },
    TIMEOUT_MS,
  );

  test(
    'rows that the database refuses are isolated at once, with nothing behind them to wake the lane',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [HOT], one);
      const refused = { more: '"x":1e999999' };
      await stage.send(
        ...readings(0, 10, { temperature: 20 }),
        // Would fire, were it stored.
        { at: 10, seq: 10, temperature: 90, ...refused },
        ...readings(11, 20, { temperature: 20 }),
        { at: 20, seq: 20, ...refused },
      );
      await stage.stored();
      expect(await stage.count('raw_telemetry')).toBe(19);
      expect((await deadLetters()).map(({ offset }) => offset)).toEqual([10, 20]);
      expect(await stage.events()).toEqual([]);
      expect(one.engine.status().lanes[0]?.state).toBe('RUNNING');
      // One batch, and nothing after it.
      await stage.send({ at: 30, seq: 30, ...refused });
      await stage.stored();
      expect((await deadLetters()).map(({ offset }) => offset)).toEqual([10, 20, 21]);
    },
    TIMEOUT_MS,
  );

  test(
    'a reading is LATE where a rule had seen it or a later one: sent again, or behind another of its device',
    async () => {
      const one = await stage.start();
      const flat = { ...HOT, id: 'flat', key: 'charge' };
      await writeRules(stage.sql, 'ann', [HOT, flat], one);
      // The newest, but only for one of the rules: what the other measures is not behind it.
      await stage.send({ at: 9, seq: 9, temperature: 20 });
      await stage.send({ at: 8, seq: 8, more: '"charge":1' }, { at: 7, seq: 7, more: '"x":1' });
      await stage.send(...readings(0, 20, { device: 'd2', temperature: 20 }));
      await stage.stored();
      expect(one.engine.status().counters).toMatchObject({ live: 23, late: 0 });
      await stage.send(...readings(0, 20, { device: 'd2', temperature: 20 }));
      await stage.send({ at: 8.5, seq: 10, temperature: 20, more: '"charge":1' });
      await stage.stored();
      expect(one.engine.status().counters).toMatchObject({ live: 23, late: 21 });
    },
    TIMEOUT_MS,
  );

  test(
    'readings of the FUTURE are stored and not evaluated; LATE ones are stored and page nobody',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [HOT], one);
      await stage.send({ at: 600 + 3_600, seq: 1, temperature: 99 });
      await stage.send({ at: 50, seq: 2, temperature: 20 });
      await stage.send({ at: 40, seq: 3, temperature: 99 });
      await stage.send({ at: 50, seq: 2, temperature: 99 });
      await stage.stored();
      expect(await stage.count('raw_telemetry')).toBe(3);
      expect(await stage.events()).toEqual([]);
      expect(one.engine.status().counters).toMatchObject({ future: 1, live: 1, late: 2 });
      const [state] = await stage.sql`SELECT newest_time FROM device_state`;
      expect(state?.newest_time).toBe(microsAt(50));
    },
    TIMEOUT_MS,
  );

  test(
    'partitions are made on demand, and one that was dropped behind our back is made again',
    async () => {
      await stage.start();
      const send = (time: string, seq: number) =>
        stage.log.append({
          ...message({ at: 0, seq }),
          value: new TextEncoder().encode(`{"time":"${time}","sequence_id":${seq}}`),
        });
      await send('2014-01-31T23:59:59.999999Z', 1);
      await send('2014-02-01T00:00:00Z', 2);
      await send('2000-01-01T00:00:00Z', 3);
      await stage.stored();
      expect(await stage.count('raw_telemetry_2014_01')).toBe(1);
      expect(await stage.count('raw_telemetry_2014_02')).toBe(1);
      await stage.sql`DROP TABLE raw_telemetry_2014_01`;
      await send('2014-01-15T00:00:00Z', 4);
      await stage.stored();
      expect(await stage.count('raw_telemetry_2014_01')).toBe(1);
      expect(await stage.count('dead_letters')).toBe(0);
    },
    TIMEOUT_MS,
  );
});

describe('alerts', () => {
  test(
    'fire once, move while they hold, resolve once',
    async () => {
      const one = await stage.start();
      const version = await writeRules(stage.sql, 'ann', [HOT], one);
      const temperatures = [20, 81, 85, 90, 70, 60, 95];
      for (const [n, temperature] of temperatures.entries()) {
        await stage.send({ at: n, seq: n, temperature });
        if (n % 2 === 0) await stage.stored();
      }
      await stage.stored();
      expect(await stage.events()).toEqual([
        'FIRED hot d1 @ 1',
        'RESOLVED hot d1 @ 4',
        'FIRED hot d1 @ 6',
      ]);
      const alerts = await stage.sql`
        SELECT status, value, started_at, last_seen_at, resolved_at, resolve_reason,
          rule_version, "offset", sequence_id FROM alerts ORDER BY started_at`;
      expect([...alerts]).toEqual([
        {
          status: 'RESOLVED',
          value: 90,
          started_at: microsAt(1),
          last_seen_at: microsAt(3),
          resolved_at: microsAt(4),
          resolve_reason: 'CLEARED',
          rule_version: version,
          offset: 1,
          sequence_id: 1,
        },
        {
          status: 'FIRING',
          value: 95,
          started_at: microsAt(6),
          last_seen_at: microsAt(6),
          resolved_at: null,
          resolve_reason: null,
          rule_version: version,
          offset: 6,
          sequence_id: 6,
        },
      ]);
    },
    TIMEOUT_MS,
  );

  test(
    'a transition does not wait for its batch to fill, and a reading does',
    async () => {
      const policy = { maxRows: 1_000, maxWaitMs: 60_000 };
      const one = await stage.start({ options: { policy } });
      await writeRules(stage.sql, 'ann', [HOT], one);
      await stage.send({ at: 0, seq: 0, temperature: 20 });
      await eventually('it was read', () => one.read() === 1);
      expect(await stage.count('raw_telemetry')).toBe(0);
      await stage.send({ at: 1, seq: 1, temperature: 90 });
      await one.tail.wait(0, AbortSignal.timeout(5_000));
      expect(await stage.count('raw_telemetry')).toBe(2);
      expect(await stage.events()).toEqual(['FIRED hot d1 @ 1']);
    },
    TIMEOUT_MS,
  );

  test(
    'of a silent device end with their rule: deleted, disabled, and the user gone',
    async () => {
      const one = await stage.start();
      const low = { ...HOT, id: 'low', operator: '>=' };
      await writeRules(stage.sql, 'ann', [HOT, low], one);
      await writeRules(stage.sql, 'bob', [HOT], one);
      await stage.send({ at: 1, seq: 1, temperature: 90 });
      await stage.send({ user: 'bob', device: 'd2', at: 2, seq: 1, temperature: 90 });
      await stage.stored();
      const reasons = async () =>
        (
          await stage.sql`SELECT rule_id, device_id, resolve_reason FROM alerts
                          WHERE status = 'RESOLVED' ORDER BY device_id, rule_id`
        ).map((row) => Object.values(row).join(' '));
      await writeRules(stage.sql, 'ann', [{ ...HOT, enabled: false }], one);
      await stage.sql`DELETE FROM user_configs WHERE user_id = 'bob'`;
      await eventually('all are resolved', async () => (await reasons()).length === 3);
      expect(await reasons()).toEqual([
        'hot d1 RULE_DISABLED',
        'low d1 RULE_DELETED',
        'hot d2 RULE_DELETED',
      ]);
      expect((await stage.events()).slice(3).sort()).toEqual([
        'RESOLVED hot d1 @ 1',
        'RESOLVED hot d2 @ 2',
        'RESOLVED low d1 @ 1',
      ]);
    },
    TIMEOUT_MS,
  );

  test(
    'a transaction that is left open on the rules of one user is named, and others do not wait for it',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [HOT], one);
      await writeRules(stage.sql, 'bob', [HOT], one);
      await stage.stored();
      await stage.sql.begin(async (tx) => {
        await tx`SELECT FROM user_configs WHERE user_id = 'bob' FOR UPDATE`;
        await stage.send({ at: 1, seq: 1, temperature: 90 });
        await stage.send({ user: 'bob', device: 'd2', at: 1, seq: 1, temperature: 90 });
        const problem = await eventually('it is told', () => {
          const [lane] = one.engine.status().lanes;
          return lane?.state === 'WAITING' ? lane.problem : null;
        });
        expect(problem).toStartWith('a transaction holds user_configs of "bob": commit it or end');
        await eventually('both fired', async () => (await stage.events()).length === 2, 15_000);
        expect(one.engine.status().lanes[0]?.state).toBe('RUNNING');
        // For a while nobody asks for the lock: it would cost each batch two seconds.
        const since = performance.now();
        await stage.send({ user: 'bob', device: 'd2', at: 2, seq: 2, temperature: 20 });
        await eventually('resolved', async () => (await stage.events()).length === 3);
        expect(performance.now() - since).toBeLessThan(1_500);
      });
      // Without the lock they are looked at all the same: at 20 it is still too hot by then.
      await stage.sql.begin(async (tx) => {
        await tx`SELECT FROM watermarks FOR UPDATE`;
        await stage.send({ at: 3, seq: 3, temperature: 20 });
        await eventually('the batch waits', async () => {
          const [row] = await stage.sql`
            SELECT pid FROM pg_stat_activity WHERE datname = current_database()
              AND application_name = 'lane' AND wait_event_type = 'Lock'`;
          return row !== undefined;
        });
        await writeRules(stage.sql, 'ann', [{ ...HOT, threshold: 10 }], one);
      });
      await stage.stored();
      expect(await stage.events()).toHaveLength(3);
      expect(one.engine.status().counters.rewinds).toBe(1);
    },
    TIMEOUT_MS,
  );

  test(
    'end with their rule also in a log that has fewer partitions than the one they began in',
    async () => {
      const wide = await stage.logs.open({ file: `${stage.logs.file}.5`, partitions: 5 });
      const one = await stage.start({ log: wide });
      await writeRules(stage.sql, 'ann', [HOT], one);
      const devices = Array.from({ length: 20 }, (_, n) => `d${n}`);
      const sent = devices.map((device) => message({ device, at: 1, seq: 1, temperature: 90 }));
      await Promise.all(sent.map((each) => wide.append(each)));
      await stage.stored(wide);
      const [spread] = await stage.sql`SELECT count(DISTINCT partition) AS n FROM device_state`;
      expect(spread?.n).toBe(5);
      await one.stop();
      const narrow = await stage.logs.open({ file: `${stage.logs.file}.2`, partitions: 2 });
      const other = await stage.start({ log: narrow });
      expect(await stage.count("alerts WHERE status = 'FIRING'")).toBe(20);
      await writeRules(stage.sql, 'ann', [], other);
      await eventually(
        'all are resolved',
        async () => (await stage.count("alerts WHERE status = 'RESOLVED'")) === 20,
      );
    },
    TIMEOUT_MS,
  );

  test(
    'end with their rule also where the rule went while no engine ran',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [HOT], one);
      await stage.send({ at: 1, seq: 1, temperature: 90 });
      await stage.stored();
      await one.stop();
      await stage.sql`DELETE FROM user_configs`;
      await stage.start();
      await eventually('it is resolved', async () => (await stage.events()).length === 2);
      expect(await stage.events()).toEqual(['FIRED hot d1 @ 1', 'RESOLVED hot d1 @ 1']);
    },
    TIMEOUT_MS,
  );

  test(
    'end with their rule also where the database was away when it was looked for them',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [HOT], one);
      await stage.send({ at: 1, seq: 1, temperature: 90 });
      await stage.stored();
      await stage.sql.begin(async (tx) => {
        await tx`LOCK TABLE device_state IN ACCESS EXCLUSIVE MODE`;
        await stage.sql`DELETE FROM user_configs`;
        const waiting = await eventually('the lane looks for firing devices', async () => {
          const [row] = await stage.sql`
            SELECT pid FROM pg_stat_activity WHERE datname = current_database()
              AND application_name = 'lane' AND wait_event_type = 'Lock'`;
          return row?.pid as number;
        });
        await stage.sql`SELECT pg_terminate_backend(${waiting})`;
      });
      await eventually('it is resolved', async () => (await stage.events()).length === 2);
    },
    TIMEOUT_MS,
  );

  test.each([
    ['at once', 0],
    ['after the database was away as the rules were read', 1],
  ])(
    'are evaluated again where the rules moved between evaluation and commit, %s',
    async (_when, failures) => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [HOT], one);
      await stage.send({ at: 0, seq: 0, temperature: 20 });
      await stage.stored();
      const { refresh } = one.rules;
      let left = failures;
      one.rules.refresh = async () => {
        if (left-- <= 0) return await refresh();
        throw Object.assign(new Error('away'), { code: 'CONNECTION_CLOSED' });
      };
      const changed = stage.sql.begin(async (tx) => {
        await tx`UPDATE user_configs SET rules = ${tx.json([{ ...HOT, threshold: 100 }] as never)}`;
        await stage.send({ at: 1, seq: 1, temperature: 90 });
        await eventually('the batch waits for the rules', async () => {
          const [row] = await stage.sql`
            SELECT pid FROM pg_stat_activity WHERE datname = current_database()
              AND application_name = 'lane' AND wait_event_type = 'Lock'`;
          return row !== undefined;
        });
        // As a review would, in the same transaction: the new rules are in force with its commit.
        await tx`UPDATE user_configs SET accepted = jsonb_set(accepted, '{rules,0,threshold}', '100'),
                   accepted_version = version, reviewed_version = version`;
      });
      await changed;
      await stage.stored();
      expect(await stage.events()).toEqual([]);
      expect(await stage.count('raw_telemetry')).toBe(2);
      // What was read again counts once.
      const counted = { records: 2, live: 2, rewinds: 1 };
      expect(one.engine.status().counters).toMatchObject(counted);
      await stage.send({ at: 2, seq: 2, temperature: 101 });
      await stage.stored();
      expect(await stage.events()).toEqual(['FIRED hot d1 @ 2']);
    },
    TIMEOUT_MS,
  );
});
