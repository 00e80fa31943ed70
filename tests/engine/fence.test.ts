import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { PartitionReader } from '../../src/domain/log.ts';
import type { EngineOptions } from '../../src/engine/index.ts';
import { eventually } from '../support/process.ts';
import { type HaltPoint, type TcpProxy, tcpProxy } from '../support/tcp-proxy.ts';
import { expectForwardMoves, noteWatermarkMoves } from '../support/watermark-moves.ts';
import {
  type EngineStage,
  engineStage,
  GROUP,
  HOT,
  OPTIONS,
  type RunningEngine,
  type Sent,
  writeRules,
} from './engine-stage.ts';

/*
 * A replica loses its way to the database in the middle of a batch, another one takes the partition
 * over meanwhile, and then the first is back with what it had in hand. Or it takes up itself.
 */

const TIMEOUT_MS = 60_000;
const LAST_STATEMENT = 'pulsegraph_append_events';
const COMMIT = { needle: 'commit', from: 'client', after: LAST_STATEMENT } as const;
const MESSAGE = { needle: LAST_STATEMENT, from: 'client' } as const;
const IN_STEPS = { policy: { ...OPTIONS.policy, smallRows: 0 } };
const POINTS: Record<string, { point: HaltPoint; options?: Partial<EngineOptions> }> = {
  'before a small batch': { point: { ...MESSAGE, when: 'before' } },
  'after a small batch, its answer lost': { point: { ...MESSAGE, when: 'answered' } },
  'before COPY': {
    point: { needle: 'COPY raw_telemetry', from: 'client', when: 'before' },
    options: IN_STEPS,
  },
  'after COPY': { point: { ...MESSAGE, when: 'before' }, options: IN_STEPS },
  'before COMMIT': { point: { ...COMMIT, when: 'before' }, options: IN_STEPS },
  'after COMMIT, its answer lost': {
    point: { ...COMMIT, when: 'answered' },
    options: IN_STEPS,
  },
};
type Cut = (typeof POINTS)[string];

let stage: EngineStage;
let proxy: TcpProxy;
beforeEach(async () => {
  stage = await engineStage();
  await noteWatermarkMoves(stage.sql);
  proxy = await tcpProxy(stage.db.url);
}, 30_000);
afterEach(async () => {
  await stage.close();
  await proxy.close();
}, 30_000);

/** Ten cold, ten hot and so on. */
const series = (from: number, to: number): Sent[] =>
  Array.from({ length: to - from }, (_, n) => {
    const seq = from + n;
    return { at: seq, seq, temperature: Math.floor(seq / 10) % 2 === 1 ? 90 : 20 };
  });

async function expectOnce(to: number): Promise<void> {
  await stage.stored();
  expect(await stage.count('raw_telemetry')).toBe(to);
  const transitions = Array.from(
    { length: Math.ceil(to / 10) - 1 },
    (_, n) => `${n % 2 === 0 ? 'FIRED' : 'RESOLVED'} hot d1 @ ${(n + 1) * 10}`,
  );
  expect(await stage.events()).toEqual(transitions);
  expect(await stage.count("alerts WHERE status = 'FIRING'")).toBe(transitions.length % 2);
  const [row] = await stage.sql`SELECT watermark FROM watermarks`;
  expect(row?.watermark).toBe(to - 1);
  await expectForwardMoves(stage.sql);
}

/** Where the lane of `one` hangs in a batch with readings 10 to 24, and then has no database. */
async function cutAt({ point, options }: Cut): Promise<RunningEngine> {
  const one = await stage.start({ laneUrl: proxy.url, options });
  await writeRules(stage.sql, 'ann', [HOT], one);
  await stage.send(...series(0, 10));
  await stage.stored();
  const halted = proxy.haltAt(point);
  await stage.send(...series(10, 25));
  await halted;
  proxy.hangUp();
  proxy.thaw();
  return one;
}

describe('a lane that is cut off in the middle of a batch', () => {
  test.each(Object.keys(POINTS))(
    '%s, and writes it when it is back',
    async (name) => {
      const one = await cutAt(POINTS[name] as Cut);
      proxy.pickUp();
      await expectOnce(25);
      await stage.send(...series(25, 45));
      await expectOnce(45);
      expect(one.engine.status().lanes[0]?.state).toBe('RUNNING');
    },
    TIMEOUT_MS,
  );

  test.each(Object.keys(POINTS))(
    '%s, and is back when another has gone on behind it',
    async (name) => {
      const one = await cutAt(POINTS[name] as Cut);
      await stage.start();
      await stage.send(...series(25, 45));
      await expectOnce(45);
      proxy.pickUp();
      const lane = () => one.engine.status().lanes[0];
      await eventually('it has found out', () => lane()?.watermark === 44, 20_000);
      await expectOnce(45);
      await stage.send(...series(45, 65));
      await expectOnce(65);
      expect(lane()?.state).toBe('RUNNING');
    },
    TIMEOUT_MS,
  );
});

test(
  'after COMMIT and before the offset commit: what is read again is not evaluated again',
  async () => {
    let hangs = false;
    const wrap = (reader: PartitionReader): PartitionReader => ({
      ...reader,
      commit: (next) => (hangs ? new Promise(() => {}) : reader.commit(next)),
    });
    const one = await stage.start({ wrap });
    await writeRules(stage.sql, 'ann', [HOT], one);
    await stage.send(...series(0, 10));
    await stage.stored();
    hangs = true;
    await stage.send(...series(10, 25));
    await eventually('a batch is committed', async () => (await stage.events()).length > 0, 20_000);
    expect(stage.log.committed(GROUP, 0)).toBe(10);
    await one.stop(0);
    const two = await stage.start();
    await expectOnce(25);
    const { replay, live, late } = two.engine.status().counters;
    expect(replay).toBeGreaterThan(0);
    expect({ read: replay + live, late }).toEqual({ read: 15, late: 0 });
  },
  TIMEOUT_MS,
);
