import { silence } from '../domain/reducer.ts';
import type { RuleSet } from '../domain/rule.ts';
import { MICROS_PER_SECOND, type Micros } from '../domain/time.ts';
import type { Sql } from '../store/connection.ts';
import { loadSilentDevices } from '../store/silent-devices.ts';
import type { Watermark } from '../store/watermark.ts';
import { type Batch, createBatch } from './batch.ts';
import type { PersistentWriter } from './persist.ts';
import { addRevision } from './sweep.ts';

/**
 * Fires the rules on missing data of a partition's devices. Time is that of the log: the arrival of
 * the last record committed, which a heartbeat moves while devices are silent. While we are behind
 * or the log takes nothing in, it stands still, and after an interruption every silence counts anew.
 */
export interface SilenceWatch {
  isDue(watermark: Watermark): boolean;
  /** Makes batches of transitions alone; each is to be committed before the next is made. */
  batches(watermark: Watermark, signal: AbortSignal): AsyncGenerator<Batch, void>;
}

const PAGE = 500;
/** Of the log's time: heartbeats move a quiet partition by 5 s, and a busy one is as well off. */
const STEP: Micros = 4 * MICROS_PER_SECOND;
/**
 * A look that finds nothing takes at most one part in so many of a lane's time, however many devices
 * there are. What is found is no reason to look less: each device fires once.
 */
const SHARE_OF_TIME = 20;
/** The log is not asked each time how many partitions it has: they may only grow. */
const PARTITIONS_MAX_AGE_MS = 60_000;

export function createSilenceWatch(
  deps: {
    writer: Pick<PersistentWriter, 'query'>;
    rulesFor: (userIds: Set<string>) => Promise<ReadonlyMap<string, RuleSet>>;
    rules: { watchSilence(): boolean };
    /** How many partitions the log has. @throws LogUnavailable */
    logPartitions: () => Promise<number>;
  },
  { partition }: { partition: number },
): SilenceWatch {
  const { writer, rulesFor, rules, logPartitions } = deps;
  let lookedAt: Micros = 0;
  let nextLookMs = 0;
  let partitions = 0;
  let countedMs = Number.NEGATIVE_INFINITY;

  async function* batches(watermark: Watermark, signal: AbortSignal): AsyncGenerator<Batch, void> {
    const { coveredAt: at, flowingSince, offset } = watermark;
    const clock = { at, flowingSince, partition, offset };
    if (performance.now() - countedMs > PARTITIONS_MAX_AGE_MS) {
      partitions = Math.max(partition + 1, await logPartitions());
      countedMs = performance.now();
    }
    let after = { userId: '', deviceId: '' };
    while (!signal.aborted) {
      const from = after;
      const load = (sql: Sql) =>
        loadSilentDevices(sql, { clock, partitions, after: from, limit: PAGE });
      const startedMs = performance.now();
      const page = await writer.query('reading the silent devices', load);
      const nowMs = performance.now();
      nextLookMs = nowMs + SHARE_OF_TIME * (nowMs - startedMs);
      const last = page.at(-1);
      if (last === undefined) break;
      after = last;
      const ruleSets = await rulesFor(new Set(page.map((device) => device.userId)));
      const batch = createBatch();
      for (const device of page) {
        const ruleSet = ruleSets.get(device.userId);
        if (ruleSet === undefined) continue;
        const result = silence(device.memory, device, ruleSet, clock);
        addRevision(batch, device, { ...result, version: ruleSet.version });
      }
      if (batch.devices.size > 0) yield batch;
    }
    lookedAt = at;
  }

  return {
    isDue({ coveredAt }) {
      if (coveredAt - lookedAt < STEP || !rules.watchSilence()) return false;
      return performance.now() >= nextLookMs;
    },
    batches,
  };
}
