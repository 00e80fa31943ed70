import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { HEARTBEAT_TOPIC, type LogAppender } from '../../src/domain/log.ts';
import { createHeartbeat, type HeartbeatOptions } from '../../src/engine/heartbeat.ts';
import type { EmbeddedLog } from '../../src/engine/sources/embedded-log.ts';
import { eventually } from '../support/process.ts';
import { type EngineStage, engineStage, message } from './engine-stage.ts';
import { type TemporaryLogs, temporaryLogs } from './sources/temporary-log.ts';

const TEST_MS = 30_000;

describe('heartbeats', () => {
  let logs: TemporaryLogs;
  let log: EmbeddedLog;
  const stops: (() => Promise<void>)[] = [];
  beforeEach(async () => {
    logs = await temporaryLogs();
    log = await logs.open();
  });
  afterEach(async () => {
    for (const stop of stops.splice(0)) await stop();
    await logs.remove();
  });

  function start(options: Partial<HeartbeatOptions> = {}): string[] {
    const warnings: string[] = [];
    const logger = { warn: (_fields: unknown, text: string) => warnings.push(text) };
    const heartbeat = createHeartbeat({
      appender: log,
      partitions: () => log.partitions,
      intervalMs: 5,
      logger: logger as unknown as HeartbeatOptions['logger'],
      ...options,
    });
    stops.push(() => heartbeat.close());
    heartbeat.start();
    return warnings;
  }

  const ends = () => log.stats().partitions.map(({ end }) => end);

  test('come to every partition, as records without content', async () => {
    start();
    await eventually('three rounds', () => ends().every((end) => end >= 3));
    for (let partition = 0; partition < log.partitions; partition++) {
      const [first, second] = log.read(partition, 0, 2);
      expect(first).toMatchObject({ topic: HEARTBEAT_TOPIC, key: null, value: new Uint8Array() });
      expect(second?.arrivalMs).toBeGreaterThanOrEqual(first?.arrivalMs ?? Number.NaN);
    }
  });

  test('stop while nothing that devices send gets through, and after close', async () => {
    let isFlowing = false;
    let asked = 0;
    start({
      isFlowing: () => {
        asked++;
        return isFlowing;
      },
    });
    await eventually('several intervals', () => asked > 5);
    expect(ends()).toEqual([0, 0, 0, 0]);
    isFlowing = true;
    await eventually('a round', () => ends().every((end) => end > 0));
    await stops.pop()?.();
    const [before, askedBefore] = [ends(), asked];
    start({ appender: { append: async () => {} }, isFlowing: () => ++asked > 0 });
    await eventually('further intervals', () => asked > askedBefore + 5);
    expect(ends()).toEqual(before);
  });

  test('wait for a slow log, and go on after one that fails', async () => {
    let calls = 0;
    let gate = Promise.withResolvers<void>();
    let intervals = 0;
    const appender: LogAppender = {
      append() {
        calls++;
        return gate.promise;
      },
    };
    const isFlowing = () => true;
    const partitions = () => 2;
    const warnings = start({ appender, partitions, isFlowing });
    const ticker = setInterval(() => intervals++, 5);
    stops.push(async () => clearInterval(ticker));
    await eventually('several intervals', () => intervals > 5 && calls > 0);
    expect(calls).toBe(2);
    const failing = gate;
    gate = Promise.withResolvers();
    failing.reject(new Error('no disk'));
    await eventually('the next round', () => calls === 4);
    expect(warnings.length).toBe(1);
    gate.resolve();
    await eventually('further rounds', () => calls > 6);
  });

  test('a partition that the log does not have is refused', async () => {
    const append = log.append({ ...message({ at: 0, seq: 0 }), partition: 4 });
    await expect(append).rejects.toThrow('no partition 4');
  });
});

describe('the engine', () => {
  let stage: EngineStage;
  beforeEach(async () => {
    stage = await engineStage({ partitions: 2 });
  }, TEST_MS);
  afterEach(() => stage.close(), TEST_MS);

  test(
    'stores nothing of a heartbeat, and its watermark and clock move',
    async () => {
      const { engine } = await stage.start();
      const beat = (partition: number) =>
        stage.log.append({ topic: HEARTBEAT_TOPIC, key: null, value: new Uint8Array(), partition });
      await stage.send({ at: 0, seq: 1 });
      const beforeMs = Date.now();
      await Promise.all([beat(0), beat(1)]);
      await stage.send({ at: 1, seq: 2 });
      await Promise.all([beat(0), beat(1)]);
      await stage.stored();
      expect(await stage.count('raw_telemetry')).toBe(2);
      expect(await stage.count('dead_letters')).toBe(0);
      expect(await stage.count('device_state')).toBe(1);
      const watermarks = await stage.sql<{ watermark: number; covered_at: number }[]>`
      SELECT watermark, covered_at FROM watermarks ORDER BY watermark`;
      expect(watermarks.map(({ watermark }) => watermark)).toEqual([1, 3]);
      for (const { covered_at: coveredAt } of watermarks) {
        expect(coveredAt).toBeGreaterThanOrEqual(beforeMs * 1_000);
      }
      expect(engine.status().counters).toMatchObject({ records: 6, live: 2, deadLetters: 0 });
    },
    TEST_MS,
  );
});
