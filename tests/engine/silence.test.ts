import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { HEARTBEAT_TOPIC, type LogAppender } from '../../src/domain/log.ts';
import { NO_CONTENT } from '../../src/domain/rule-content.ts';
import { createHeartbeat } from '../../src/engine/heartbeat.ts';
import { model } from '../../src/model.ts';
import { changeRules } from '../../src/store/change-rules.ts';
import { eventually } from '../support/process.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';
import {
  BEGINNING_MS,
  type EngineStage,
  engineStage,
  HOT,
  microsAt,
  type Sent,
  writeRules,
} from './engine-stage.ts';

/*
 * Time here is that of the log, in seconds after the stage's beginning: the test stamps arrivals.
 * Where nothing may fire, a canary does: a device that is silent, so that the lane has looked.
 */

const TIMEOUT_MS = 60_000;
const QUIET = { id: 'quiet', noData: 'PT1M', message: '{device_id} is silent for {value}' };
const CANARY: Sent = { device: 'canary', at: 0, seq: 0 };

let stage: EngineStage;
let nowMs: number;
beforeEach(async () => {
  nowMs = BEGINNING_MS;
  stage = await engineStage({ partitions: 2, log: { now: () => nowMs } });
}, 30_000);
afterEach(() => stage.close(), 30_000);

/** Readings of these devices that arrive at `at`, dated so. */
async function send(at: number, ...devices: string[]): Promise<void> {
  nowMs = BEGINNING_MS + at * 1_000;
  await stage.send(...devices.map((device) => ({ device, at, seq: at })));
}

async function beat(at: number): Promise<void> {
  nowMs = BEGINNING_MS + at * 1_000;
  const heartbeat = { topic: HEARTBEAT_TOPIC, key: null, value: new Uint8Array() };
  await Promise.all([0, 1].map((partition) => stage.log.append({ ...heartbeat, partition })));
}

/** Heartbeats from `from` to `to`, and readings of these devices with each. */
async function flow(from: number, to: number, ...devices: string[]): Promise<void> {
  for (let at = from; at <= to; at += 5) {
    await send(at, ...devices);
    await beat(at);
  }
}

const told = (...expected: string[]) =>
  eventually(
    expected.join(', '),
    async () => {
      const events = await stage.events();
      return expected.every((one) => events.includes(one));
    },
    20_000,
  );
/** All that was told, once the canary was, of a silence that began when it was last heard of. */
async function all(canaryAt: number): Promise<string[]> {
  await told(`FIRED quiet canary @ ${canaryAt}`);
  const events = await stage.events();
  return events.filter((event) => !event.includes('canary'));
}

describe('a silent device', () => {
  test(
    'fires without a message, over a restart once, and resolves with the next reading',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [QUIET, HOT], one);
      await stage.send({ device: 'd1', at: 0, seq: 0 });
      // Time passes with the heartbeats alone: a busy machine makes no interruption.
      const append: LogAppender['append'] = (record) => {
        nowMs += 500;
        return stage.log.append(record);
      };
      const heartbeat = createHeartbeat({
        appender: { append },
        partitions: () => 2,
        intervalMs: 5,
        logger: { warn: () => {} },
      });
      heartbeat.start();
      await told('FIRED quiet d1 @ 60');
      await heartbeat.close();
      await stage.stored();
      await one.stop();

      const [alert] = await stage.sql`SELECT * FROM alerts`;
      expect(alert).toMatchObject({
        message: 'd1 is silent for PT1M',
        status: 'FIRING',
        threshold: 'PT1M',
        value: null,
        key: null,
        operator: null,
        sequence_id: null,
        event_time: null,
        started_at: microsAt(60),
        holding_since: microsAt(0),
        arrival_time: microsAt(0),
      });

      await stage.start();
      const at = (nowMs - BEGINNING_MS) / 1_000 + 5;
      await flow(at, at + 20);
      await send(at + 20, 'd1');
      await told(`RESOLVED quiet d1 @ ${at + 20}`);
      // And again, once.
      await flow(at + 20, at + 85);
      await told(`FIRED quiet d1 @ ${at + 80}`);
      await stage.stored();
      expect(await stage.events()).toHaveLength(3);
      expect(await stage.count("alerts WHERE resolve_reason = 'CLEARED'")).toBe(1);
    },
    TIMEOUT_MS,
  );

  test(
    'is heard of by readings that no rule takes: LATE and FUTURE ones',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [QUIET, HOT], one);
      await send(0, 'late', 'future');
      await flow(5, 60);
      await told('FIRED quiet late @ 60', 'FIRED quiet future @ 60');
      nowMs += 1_000;
      await stage.send({ device: 'late', at: -100, seq: 1 }, { device: 'future', at: 900, seq: 1 });
      await told('RESOLVED quiet late @ 61', 'RESOLVED quiet future @ 61');
      expect(await stage.events()).toHaveLength(4);
    },
    TIMEOUT_MS,
  );
});

describe('nobody is told of what is ours', () => {
  test(
    'hours of the log, taken up late',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [QUIET], one);
      await send(0, 'd1', 'd2', 'canary');
      await stage.stored();
      await one.stop();
      for (let at = 5; at <= 7_200; at += 5) {
        if (at % 30 === 0) await send(at, 'd1', 'd2');
        await beat(at);
      }
      await stage.start();
      expect(await all(60)).toEqual([]);
      await stage.stored();
      expect(await stage.events()).toHaveLength(1);
    },
    TIMEOUT_MS,
  );

  test(
    'an interruption of the intake: every silence counts anew behind it, over a restart too',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [QUIET], one);
      await send(0, 'd1', 'd2', 'canary');
      await flow(5, 55);
      await flow(300, 325);
      await stage.stored();
      await one.stop();
      await stage.start();
      await send(326, 'd1');
      await flow(330, 355);
      await stage.stored();
      expect(await stage.events()).toEqual([]);
      await flow(360, 360);
      await told('FIRED quiet canary @ 360', 'FIRED quiet d2 @ 360');
      expect(await stage.events()).toHaveLength(2);
      const [alert] = await stage.sql`SELECT holding_since, arrival_time FROM alerts LIMIT 1`;
      expect(alert).toEqual({ holding_since: microsAt(300), arrival_time: microsAt(0) });
      await flow(365, 390);
      await told('FIRED quiet d1 @ 386');
    },
    TIMEOUT_MS,
  );

  test(
    'an interruption that ends while the engine is down',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [QUIET], one);
      await send(0, 'd1', 'canary');
      await flow(5, 30);
      await stage.stored();
      await one.stop();
      await flow(600, 640);
      await send(645, 'd1');
      await beat(645);
      await stage.start();
      await stage.stored();
      expect(await stage.events()).toEqual([]);
      await flow(650, 660);
      expect(await all(660)).toEqual([]);
    },
    TIMEOUT_MS,
  );

  test(
    'an outage of the database',
    async () => {
      const proxy = await tcpProxy(stage.db.url);
      const one = await stage.start({ laneUrl: proxy.url });
      try {
        await writeRules(stage.sql, 'ann', [QUIET], one);
        await flow(0, 30, 'd1', 'canary');
        await stage.stored();
        proxy.hangUp();
        await flow(35, 600, 'd1');
        const waits = () => one.engine.status().lanes.some(({ state }) => state === 'WAITING');
        await eventually('a lane waits', waits, 20_000);
        proxy.pickUp();
        expect(await all(90)).toEqual([]);
        await stage.stored();
        expect(await stage.events()).toHaveLength(1);
      } finally {
        await one.stop(1_000);
        await proxy.close();
      }
    },
    TIMEOUT_MS,
  );
});

describe('each silence is told once', () => {
  test(
    'by two engines that read the same partitions, and when one of them goes',
    async () => {
      const [one, two] = [await stage.start(), await stage.start()];
      await writeRules(stage.sql, 'ann', [QUIET], one, two);
      const devices = Array.from({ length: 20 }, (_, n) => `d${n}`);
      await send(0, ...devices);
      await flow(5, 60);
      await told(...devices.map((device) => `FIRED quiet ${device} @ 60`));
      await one.stop();
      await flow(65, 70, 'd0');
      await told('RESOLVED quiet d0 @ 65');
      await flow(75, 130);
      await told('FIRED quiet d0 @ 130');
      await stage.stored();
      expect(await stage.events()).toHaveLength(22);
      expect(await stage.count('alerts')).toBe(21);
    },
    TIMEOUT_MS,
  );

  test(
    'of thousands, a page after the other; their rule deleted, they end',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [QUIET], one);
      const devices = Array.from({ length: 2_300 }, (_, n) => `d${n}`);
      await send(0, ...devices);
      await flow(5, 65);
      const events = (type: string) => stage.count(`alert_events WHERE type = '${type}'`);
      await eventually('all have fired', async () => (await events('FIRED')) >= 2_300, 20_000);
      await flow(70, 75);
      await writeRules(stage.sql, 'ann', [], one);
      await eventually('all have ended', async () => (await events('RESOLVED')) >= 2_300, 20_000);
      await stage.stored();
      expect(await stage.count('alert_events')).toBe(4_600);
      expect(await stage.count("alerts WHERE resolve_reason = 'RULE_DELETED'")).toBe(2_300);
    },
    TIMEOUT_MS,
  );

  test(
    'and not at all where its rule goes while it is being written',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [QUIET], one);
      await writeRules(stage.sql, 'eve', [QUIET], one);
      await stage.send(CANARY, { ...CANARY, user: 'eve' });
      await flow(5, 55);
      await stage.stored();
      const waiting = (count: number) => async () =>
        (await stage.count("pg_stat_activity WHERE wait_event_type = 'Lock'")) >= count;
      let deletion: Promise<unknown> = Promise.resolve();
      await stage.sql.begin(async (tx) => {
        await tx`SELECT FROM user_configs WHERE user_id = 'ann' FOR UPDATE`;
        const change = () => NO_CONTENT;
        deletion = changeRules(stage.sql, { userId: 'ann', change, actor: 'test', model });
        await eventually('the deletion waits', waiting(1), 20_000);
        await flow(60, 60);
        await eventually('the lane waits behind it', waiting(2), 20_000);
      });
      expect(await deletion).toMatchObject({ kind: 'ok', changed: true });
      await flow(65, 70);
      await told('FIRED quiet canary @ 60');
      await stage.stored();
      const users = await stage.sql`SELECT user_id FROM alerts`;
      expect(users.map((row) => row.user_id)).toEqual(['eve']);
      expect(one.engine.status().counters.rewinds).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  test(
    'also of a device that was last heard of in a partition which the log no longer has',
    async () => {
      const one = await stage.start();
      await writeRules(stage.sql, 'ann', [QUIET], one);
      await send(0, 'd1', 'd2', 'd3');
      await stage.stored();
      await stage.sql`UPDATE device_state SET partition = 6 WHERE device_id = 'd1'`;
      await stage.sql`UPDATE device_state SET partition = 7 WHERE device_id = 'd2'`;
      await flow(5, 70);
      await told(...['d1', 'd2', 'd3'].map((device) => `FIRED quiet ${device} @ 60`));
      expect(await stage.events()).toHaveLength(3);
    },
    TIMEOUT_MS,
  );
});
