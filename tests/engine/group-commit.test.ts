import { afterEach, beforeEach, expect, test } from 'bun:test';
import pino from 'pino';
import type { AlertEvent } from '../../src/domain/alert.ts';
import { createGroupCommit, type GroupCommit } from '../../src/engine/group-commit.ts';
import { model } from '../../src/model.ts';
import { connect } from '../../src/store/connection.ts';
import { LOCKS } from '../../src/store/migrations.ts';
import { NO_POINTS } from '../../src/store/point-columns.ts';
import { type SmallBatch, writeAtOnce } from '../../src/store/write-at-once.ts';
import {
  counts,
  makeReady,
  type SmallBatches,
  START,
  smallBatches,
} from '../store/small-batches.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { eventually } from '../support/process.ts';

const TIMEOUT_MS = 60_000;
/** What its connection is called. */
const NAME = 'group';
const SEQ_LOCK = `SELECT pg_advisory_xact_lock(${LOCKS.alertSeq})`;

const lanes = ['ann', 'bob', 'cid'].map((userId, partition) => smallBatches(partition, userId));
const [ann, bob, cid] = lanes as [SmallBatches, SmallBatches, SmallBatches];

let db: TestDatabase;
let group: GroupCommit;
beforeEach(async () => {
  db = await testDatabase();
  await makeReady(db.sql, ...lanes);
  group = groupCommit();
}, 30_000);
afterEach(async () => {
  await group.close();
  await db.drop();
});

function groupCommit({ answerWithinMs = 5_000 } = {}): GroupCommit {
  const openSql = () => connect(db.url, { max: 1, applicationName: NAME, answerWithinMs });
  return createGroupCommit({ openSql, model, logger: pino({ level: 'silent' }) });
}

const together = (...batches: SmallBatch[]) => Promise.all(batches.map(group.write));
const alone = (batch: SmallBatch) => writeAtOnce(db.sql, [batch], { model, points: NO_POINTS });
const stored = () => counts(db.sql);

/** The transaction that last moved each partition's watermark. */
async function movers(): Promise<string[]> {
  const rows = await db.sql<{ xmin: string }[]>`
    SELECT xmin::text FROM watermarks ORDER BY partition`;
  return rows.map(({ xmin }) => xmin);
}

/** Runs `work` while another transaction has the locks that `statement` takes. */
async function locked<T>(statement: string, work: () => Promise<T>): Promise<T> {
  return (await db.sql.begin(async (tx) => {
    await tx.unsafe(statement);
    return await work();
  })) as T;
}

async function connections(): Promise<{ pid: number; waits: boolean }[]> {
  return await db.sql<{ pid: number; waits: boolean }[]>`
    SELECT pid, wait_event_type IS NOT DISTINCT FROM 'Lock' AS waits FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = ${NAME}`;
}

/** Until a group waits for a lock. @returns its connection's process */
async function waits(): Promise<number> {
  return await eventually('a group waits', async () => {
    return (await connections()).find((connection) => connection.waits)?.pid;
  });
}

test('batches that come together are one transaction, and each gets its own events', async () => {
  const before = await movers();
  const events = await together(
    ...lanes.map(({ batchOf, fired, resolved, ruleVersions }) =>
      batchOf(1, { transitions: [fired(1), resolved(1)], ruleVersions }),
    ),
  );
  expect(events.map(idsOf)).toEqual([
    ['ann e1', 'ann r1'],
    ['bob e1', 'bob r1'],
    ['cid e1', 'cid r1'],
  ]);
  const seqs = events.flatMap((own) => own?.map(({ seq }) => seq) ?? []);
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  expect(await stored()).toEqual([6, 6, 3, 6, 0]);
  const after = await movers();
  expect(new Set(after).size).toBe(1);
  expect(before).not.toContain(after[0] as string);
});

test('batches that come while a group is written are the next one', async () => {
  const written = await locked(SEQ_LOCK, async () => {
    const first = group.write(ann.firing(1));
    await waits();
    const second = group.write(bob.firing(1));
    await db.sql`SELECT 1`;
    return [first, second, group.write(cid.firing(1))];
  });
  expect((await Promise.all(written)).map(idsOf)).toEqual([['ann e1'], ['bob e1'], ['cid e1']]);
  const [first, second, third] = await movers();
  expect(second).not.toBe(first as string);
  expect(third).toBe(second as string);
});

test('a group ends with the batch that makes it a thousand readings', async () => {
  const large = ({ batchOf }: SmallBatches): SmallBatch => {
    const [row] = batchOf(1).readings as [SmallBatch['readings'][number]];
    const readings = Array.from({ length: 600 }, (_, n) => ({
      ...row,
      reading: { ...row.reading, time: START + n },
    }));
    return batchOf(1, { readings });
  };
  expect(await together(...lanes.map(large))).toEqual([[], [], []]);
  const [first, second, third] = await movers();
  expect(second).toBe(first as string);
  expect(third).not.toBe(first as string);
  expect(await stored()).toEqual([1_800, 6, 0, 0, 0]);
});

const refusals: Record<string, { what?: Partial<SmallBatch>; first?: () => Promise<unknown> }> = {
  'whose watermark moved': {
    first: () => db.sql`UPDATE watermarks SET watermark = 7 WHERE partition = 1`,
  },
  'whose rules moved': { what: { ruleVersions: new Map([['bob', 3]]) } },
  'with a row that the table refuses': { what: { readings: withNul(bob) } },
};

test.each(Object.keys(refusals))('batches are not written with one %s', async (name) => {
  const { what, first } = refusals[name] as (typeof refusals)[string];
  const atFault = { ...bob.firing(1), ...what };
  await first?.();
  const before = await stored();
  expect(await together(ann.firing(1), atFault, cid.firing(1))).toEqual([null, null, null]);
  expect(await stored()).toEqual(before);
  expect(idsOf(await alone(ann.firing(1)))).toEqual(['ann e1']);
  expect(await alone(atFault)).toBeNull();
  expect(idsOf(await alone(cid.firing(1)))).toEqual(['cid e1']);
  const events = await together(ann.firing(2), cid.firing(2));
  expect(events.map(idsOf)).toEqual([['ann e2'], ['cid e2']]);
  const [mover, , other] = await movers();
  expect(other).toBe(mover as string);
});

const locks: Record<string, string> = {
  'the rules of a user': "SELECT FROM user_configs WHERE user_id = 'ann' FOR UPDATE",
  'a snooze': 'SELECT FROM snoozes FOR UPDATE',
  'an alert': 'SELECT FROM alerts FOR UPDATE',
  'a watermark': 'SELECT FROM watermarks WHERE partition = 1 FOR UPDATE',
  'the lock of seq': SEQ_LOCK,
};

test.each(Object.keys(locks))('a group waits less than a second for %s', async (name) => {
  await alone(ann.firing(1));
  await db.sql`INSERT INTO snoozes (user_id, device_id, rule_id, until, actor)
    VALUES ('ann', 'd1', 'hot', now() + interval '1 hour', 'ann')`;
  const transitions = [ann.resolved(1), ann.fired(2)];
  const batches = [ann.batchOf(2, { transitions, ruleVersions: ann.ruleVersions }), bob.firing(1)];
  const before = await stored();
  await locked(locks[name] as string, async () => {
    const sinceMs = performance.now();
    const writing = together(...batches);
    await Promise.race([writing, Bun.sleep(2_000)]);
    expect(performance.now() - sinceMs).toBeLessThan(1_000);
    expect(await writing).toEqual([null, null]);
  });
  expect(await stored()).toEqual(before);
  expect((await together(...batches)).map(idsOf)).toEqual([['ann r1', 'ann e2'], ['bob e1']]);
});

test('batches with the same device are written one after the other, and not together', async () => {
  const moved = bob.batchOf(1, {
    states: [...bob.batchOf(1).states, { ...ann.stateOf('d1', 2), partition: 1 }],
  });
  const before = await stored();
  expect(await together(ann.firing(1), moved)).toEqual([null, null]);
  expect(await stored()).toEqual(before);
  expect(idsOf(await alone(ann.firing(1)))).toEqual(['ann e1']);
  expect(await alone(moved)).toEqual([]);
});

test(
  'batches go alone for a second after the database was away, and then together again',
  async () => {
    const written = await locked(SEQ_LOCK, async () => {
      const writing = together(ann.firing(1), bob.firing(1));
      await db.sql`SELECT pg_terminate_backend(${await waits()}, 5000)`;
      return await writing;
    });
    const sinceMs = performance.now();
    expect(written).toEqual([null, null]);
    expect(await together(ann.firing(1), bob.firing(1))).toEqual([null, null]);
    expect(await connections()).toEqual([]);
    await eventually('it is tried again', () => group.write(cid.firing(1)));
    expect(performance.now() - sinceMs).toBeWithin(900, 3_000);
    const events = await together(ann.firing(1), bob.firing(1));
    expect(events.map(idsOf)).toEqual([['ann e1'], ['bob e1']]);
    const [first, second] = await movers();
    expect(second).toBe(first as string);
  },
  TIMEOUT_MS,
);

test('what waits at a close is left to be written alone, and no connection stays', async () => {
  await locked(SEQ_LOCK, async () => {
    const writing = group.write(ann.firing(1));
    await waits();
    const waiting = group.write(bob.batchOf(1));
    await group.close();
    expect(await Promise.all([writing, waiting])).toEqual([null, null]);
  });
  await eventually('all have ended', async () => (await connections()).length === 0, 2_000);
});

test.skipIf(process.env.TEST_DATABASE_URL !== undefined)(
  'a connection that gives no answer is left, and what comes of it later changes nothing',
  async () => {
    await group.close();
    group = groupCommit({ answerWithinMs: 500 });
    expect(await together(ann.firing(1))).toHaveLength(1);
    const silent = (await connections())[0]?.pid as number;
    process.kill(silent, 'SIGSTOP');
    try {
      expect(await together(ann.firing(2), bob.firing(1))).toEqual([null, null]);
      expect(idsOf(await alone(ann.firing(2)))).toEqual(['ann e2']);
      await eventually('it is tried again', () => group.write(bob.firing(1)));
      expect((await together(ann.firing(3), bob.firing(2))).map(idsOf)).toEqual([
        ['ann e3'],
        ['bob e2'],
      ]);
      expect((await connections()).filter(({ pid }) => pid !== silent)).toHaveLength(1);
    } finally {
      process.kill(silent, 'SIGCONT');
    }
    const isGone = async () => (await connections()).every(({ pid }) => pid !== silent);
    await eventually('the silent one has ended', isGone);
    expect(await stored()).toEqual([10, 10, 5, 5, 2]);
  },
  TIMEOUT_MS,
);

function idsOf(events: readonly AlertEvent[] | null): string[] | undefined {
  return events?.map(({ id }) => id);
}

/** Readings that JSON may hold, and jsonb not. */
function withNul({ batchOf }: SmallBatches): SmallBatch['readings'] {
  return batchOf(1).readings.map((row) => ({ ...row, extraText: '{"nul":"\\u0000"}' }));
}
