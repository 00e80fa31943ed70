import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createBatch } from '../../src/engine/batch.ts';
import { createRefusals } from '../../src/engine/refusals.ts';
import { eventually } from '../support/process.ts';
import { type EngineStage, engineStage, type Sent } from './engine-stage.ts';

const TIMEOUT_MS = 30_000;
const readings = (from: number, to: number, more: Partial<Sent> = {}): Sent[] =>
  Array.from({ length: to - from }, (_, n) => ({ at: (from + n) / 10, seq: from + n, ...more }));

describe('what the database refuses beside the readings', () => {
  let stage: EngineStage;
  beforeEach(async () => {
    stage = await engineStage();
  }, 30_000);
  afterEach(() => stage.close(), 30_000);

  test(
    'becomes dead letters of the records that it came of, and all others are stored',
    async () => {
      await stage.sql`ALTER TABLE device_state ADD CONSTRAINT not_bad CHECK (device_id <> 'bad')`;
      await stage.send(...readings(0, 40), { device: 'bad', at: 4, seq: 40 });
      await stage.send(...readings(41, 170), { device: 'bad', at: 5, seq: 170 });
      await stage.send({ device: 'bad', at: 6, seq: 171 }, ...readings(172, 250));
      const { engine, lines } = await stage.start();
      await stage.stored();
      expect(await stage.count('raw_telemetry')).toBe(247);
      const letters = await stage.sql`
        SELECT "offset", reason, detail FROM dead_letters ORDER BY "offset"`;
      expect(letters.map((letter) => letter.offset)).toEqual([40, 170, 171]);
      expect(letters[0]?.reason).toBe('REFUSED_BY_DATABASE');
      expect(letters[0]?.detail).toContain('not_bad');
      expect(engine.status().counters).toMatchObject({ records: 250, live: 247, deadLetters: 3 });
      expect(lines.filter((line) => line.startsWith('warn'))).toHaveLength(3);
    },
    TIMEOUT_MS,
  );

  test(
    'stops the lane where it is refused of every record, and says what to mend',
    async () => {
      await stage.sql`ALTER TABLE device_state ADD CONSTRAINT none CHECK (version < 0) NOT VALID`;
      await stage.send(...readings(0, 100));
      const one = await stage.start();
      const failed = await eventually('the lane stops', () => {
        const lane = one.engine.status().lanes[0];
        return lane?.state === 'FAILED' ? lane : null;
      });
      expect(failed.problem).toContain('table device_state, constraint none');
      expect(failed.problem).toContain('then restart');
      await one.stop();
      const letters = await stage.count('dead_letters');
      expect(letters).toBeLessThanOrEqual(10);
      await stage.sql`ALTER TABLE device_state DROP CONSTRAINT none`;
      await stage.start();
      await stage.stored();
      expect(await stage.count('raw_telemetry')).toBe(100 - letters);
    },
    TIMEOUT_MS,
  );
});

describe('the search', () => {
  const batchOf = (records: number, lastOffset: number) =>
    Object.assign(createBatch(), { records, lastOffset });
  const error = new Error('refused');

  test('halves until one record is left, blames that one, and looks no further', () => {
    const refusals = createRefusals();
    let records = 1_000;
    for (let rounds = 0; records > 1; rounds++) {
      expect(rounds).toBeLessThan(10);
      expect(refusals.blame(batchOf(records, 1_000), error).kind).toBe('halve');
      records = refusals.maxRecords();
    }
    expect(refusals.blame(batchOf(1, 500), error).kind).toBe('refused');
    expect(refusals.detailOf(500)).toBe('refused');
    expect(refusals.maxRecords()).toBe(Number.POSITIVE_INFINITY);
    refusals.committed(batchOf(1, 500));
    expect(refusals.detailOf(500)).toBeUndefined();
  });

  test('ends where the batch that began it is stored after all', () => {
    const refusals = createRefusals();
    refusals.blame(batchOf(8, 8), error);
    refusals.committed(batchOf(4, 4));
    expect(refusals.maxRecords()).toBe(4);
    refusals.committed(batchOf(4, 8));
    expect(refusals.maxRecords()).toBe(Number.POSITIVE_INFINITY);
  });

  test('blames nobody for a change of the rules, and no record twice', () => {
    const refusals = createRefusals();
    expect(() => refusals.blame(batchOf(0, -1), error)).toThrow('then restart');
    refusals.blame(batchOf(1, 7), error);
    expect(() => refusals.blame(batchOf(1, 7), error)).toThrow('then restart');
  });
});
