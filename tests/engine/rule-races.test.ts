import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { model } from '../../src/model.ts';
import { changeRules } from '../../src/store/change-rules.ts';
import { LOCKS } from '../../src/store/migrations.ts';
import { eventually } from '../support/process.ts';
import {
  type EngineStage,
  engineStage,
  HOT,
  type RunningEngine,
  type Sent,
  writeRules,
} from './engine-stage.ts';

const TIMEOUT_MS = 60_000;
const WITHIN_MS = 20_000;

let stage: EngineStage;
let one: RunningEngine;
beforeEach(async () => {
  stage = await engineStage();
  one = await stage.start();
  await writeRules(stage.sql, 'ann', [HOT], one);
  await stage.send({ at: 0, seq: 0, temperature: 20 });
  await stage.stored();
}, 30_000);
afterEach(() => stage.close(), 30_000);

/** Two readings, so that the transition of the first is in a batch with a COPY. */
const HOT_BATCH: Sent[] = [
  { at: 1, seq: 1, temperature: 90 },
  { at: 2, seq: 2, temperature: 91 },
];

/** How the rule that the batch fires may change, and the reason for which its episode ends then. */
const CHANGES: Record<string, { make: () => Promise<unknown>; reason: string }> = {
  'an edit of its threshold': {
    make: () => change([{ ...HOT, threshold: 100, severity: 'WARNING', enabled: true }]),
    reason: 'RULE_EDITED',
  },
  'its disabling': {
    make: () => change([{ ...HOT, severity: 'WARNING', enabled: false }]),
    reason: 'RULE_DISABLED',
  },
  'its deletion': { make: () => change([]), reason: 'RULE_DELETED' },
  'the deletion of all its user has': {
    make: () => stage.sql`DELETE FROM user_configs WHERE user_id = 'ann'`.execute(),
    reason: 'RULE_DELETED',
  },
};

async function change(rules: object[]): Promise<void> {
  const content = { shorthands: {}, rules: rules as never };
  const how = { userId: 'ann', change: () => content, actor: 'test', model };
  expect((await changeRules(stage.sql, how)).kind).toBe('ok');
}

/** Until a connection of this name waits for a lock that another holds. */
async function waits(applicationName: string): Promise<void> {
  await eventually(
    `${applicationName} waits for a lock`,
    async () => {
      const [row] = await stage.sql`
        SELECT pid FROM pg_stat_activity WHERE datname = current_database()
          AND application_name = ${applicationName} AND wait_event_type = 'Lock'`;
      return row !== undefined;
    },
    WITHIN_MS,
  );
}

async function reasons(): Promise<(string | null)[]> {
  const rows = await stage.sql<{ reason: string | null }[]>`
    SELECT resolve_reason AS reason FROM alerts`;
  return rows.map(({ reason }) => reason);
}

async function expectRunning(): Promise<void> {
  expect(one.engine.status().lanes[0]).toMatchObject({ state: 'RUNNING', problem: null });
}

describe('a change of a rule and a batch that fires it', () => {
  test.each(Object.keys(CHANGES))(
    '%s commits first: nothing fires',
    async (name) => {
      let changed: Promise<unknown> | undefined;
      await stage.sql.begin(async (tx) => {
        await tx`SELECT FROM user_configs WHERE user_id = 'ann' FOR UPDATE`;
        changed = CHANGES[name]?.make();
        await waits('test');
        await stage.send(...HOT_BATCH);
        await waits('lane');
      });
      await changed;
      await stage.stored();
      expect(await stage.events()).toEqual([]);
      expect(await stage.count('raw_telemetry')).toBe(3);
      expect(one.engine.status().counters.rewinds).toBeGreaterThan(0);
      await expectRunning();
    },
    TIMEOUT_MS,
  );

  test.each(Object.keys(CHANGES))(
    'the batch commits before %s: it fires, and ends with the reason',
    async (name) => {
      let changed: Promise<unknown> | undefined;
      await stage.sql.begin(async (tx) => {
        // The last that a batch asks for, with its lock on the rules in hand.
        await tx`SELECT pg_advisory_xact_lock(${LOCKS.alertSeq})`;
        await stage.send(...HOT_BATCH);
        await waits('lane');
        changed = CHANGES[name]?.make();
        await waits('test');
      });
      await changed;
      await eventually('it ends', async () => (await stage.events()).length > 1, WITHIN_MS);
      await stage.stored();
      expect((await stage.events()).map((event) => event.split(' ')[0])).toEqual([
        'FIRED',
        'RESOLVED',
      ]);
      expect(await reasons()).toEqual([CHANGES[name]?.reason as string]);
      expect(await stage.count('raw_telemetry')).toBe(3);
      await expectRunning();
    },
    TIMEOUT_MS,
  );
});

test(
  'a device that sends on as all of its rules are deleted: its episode ends, all is stored',
  async () => {
    await stage.send(...HOT_BATCH);
    await stage.stored();
    await stage.sql.begin(async (tx) => {
      // The lane learns of the deletion with this batch waiting: it ends the episode, not a sweep.
      await tx`SELECT FROM watermarks FOR UPDATE`;
      await stage.send({ at: 3, seq: 3, temperature: 92 });
      await waits('lane');
      await tx`DELETE FROM user_configs`;
    });
    for (let seq = 4; seq < 40; seq++) await stage.send({ at: seq, seq, temperature: 93 });
    await eventually('it ends', async () => (await stage.events()).length > 1, WITHIN_MS);
    await stage.stored();
    expect(await reasons()).toEqual(['RULE_DELETED']);
    expect(await stage.count('raw_telemetry')).toBe(40);
    await expectRunning();
  },
  TIMEOUT_MS,
);

describe('a partition that goes to an engine whose rules lag behind', () => {
  /** Has taken the partition up, with no rules of ann yet, when the first one is gone. */
  async function takenOver(before: () => Promise<unknown>): Promise<RunningEngine> {
    const firstGone = Promise.withResolvers<void>();
    const two = await stage.start({
      rulesPollMs: 3_600_000,
      wrap: (reader) => ({ ...reader, range: () => firstGone.promise.then(reader.range) }),
    });
    await two.rules.rulesFor(['bob']);
    await before();
    await one.stop();
    firstGone.resolve();
    return two;
  }

  /** Of a user that the second one knows to have none. */
  const sent = (at: number, temperature: number): Sent => ({
    user: 'bob',
    at,
    seq: at,
    temperature,
  });

  test(
    'what comes twice is late still: no second alert of the same readings',
    async () => {
      const two = await takenOver(async () => {
        await writeRules(stage.sql, 'bob', [HOT], one);
        await stage.send(sent(1, 90), sent(2, 91), sent(3, 20));
        await stage.stored();
      });
      await stage.send(sent(1, 90));
      await stage.stored();
      await two.rules.refresh();
      await stage.send(sent(2, 91), sent(3, 20));
      await stage.stored();
      expect(await stage.events()).toEqual(['FIRED hot d1 @ 1', 'RESOLVED hot d1 @ 3']);
      expect(two.engine.status().counters.rewinds).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  test(
    'what has held goes on holding',
    async () => {
      const two = await takenOver(async () => {
        await writeRules(stage.sql, 'bob', [{ ...HOT, for: 'PT10S' }], one);
        await stage.send(sent(1, 90));
        await stage.stored();
      });
      await stage.send(sent(5, 90));
      await stage.stored();
      await two.rules.refresh();
      await stage.send(sent(12, 90));
      await stage.stored();
      expect(await stage.events()).toEqual(['FIRED hot d1 @ 12']);
    },
    TIMEOUT_MS,
  );

  test(
    'where all versions begin anew, as the tables of rules were emptied, it goes on',
    async () => {
      const two = await takenOver(async () => {
        await writeRules(stage.sql, 'bob', [{ ...HOT, for: 'PT10S' }], one);
        await stage.send(sent(1, 90));
        await stage.stored();
        await stage.sql`TRUNCATE user_configs`;
        await stage.sql`TRUNCATE rule_changes`;
      });
      await stage.send(sent(5, 90));
      await stage.stored();
      expect(await stage.events()).toEqual([]);
      expect(two.engine.status().lanes[0]).toMatchObject({ state: 'RUNNING', problem: null });
    },
    TIMEOUT_MS,
  );
});
