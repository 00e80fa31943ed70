import { test } from 'bun:test';
import fc from 'fast-check';
import { history } from '../support/history.ts';
import { tcpProxy } from '../support/tcp-proxy.ts';
import { type EngineStage, engineStage } from './engine-stage.ts';
import { type HistoryStage, playHistory } from './play-history.ts';

/** Each takes a second or two. */
const RUNS = Number(process.env.HISTORY_RUNS ?? 25);
/** Printed with what failed; the path leads to the one run. */
const SEED = process.env.HISTORY_SEED ? { seed: Number(process.env.HISTORY_SEED) } : {};
const PATH = process.env.HISTORY_PATH ? { path: process.env.HISTORY_PATH } : {};
const TIMEOUT_MS = 60_000 + RUNS * 10_000;

const OPTIONS = { policy: { maxRows: 7, maxWaitMs: 5 } };

/** The embedded log, which several engines read at once, each with a proxy before the database. */
function embedded(stage: EngineStage): HistoryStage {
  return {
    sql: stage.sql,
    append: async (messages) => {
      await Promise.all(messages.map((one) => stage.log.append(one)));
    },
    stored: () => stage.stored(),
    async startLagging(users) {
      const released = Promise.withResolvers<void>();
      const { rules, stop } = await stage.start({
        options: OPTIONS,
        rulesPollMs: 3_600_000,
        wrap: (reader) => ({ ...reader, range: () => released.promise.then(reader.range) }),
      });
      await rules.rulesFor(users);
      const end = (abruptly: boolean) => stop(abruptly ? 0 : 5_000);
      return { rules, end, release: () => released.resolve() };
    },
    async start({ rewind }) {
      const proxy = await tcpProxy(stage.db.url);
      const { rules, stop } = await stage.start({
        laneUrl: proxy.url,
        options: OPTIONS,
        wrap: (reader) => ({
          ...reader,
          committed: async () => {
            const next = await reader.committed();
            return next === null ? null : Math.max(0, next - rewind);
          },
        }),
      });
      return {
        rules,
        async end(abruptly) {
          if (abruptly) proxy.hangUp();
          await stop(abruptly ? 0 : 5_000);
          await proxy.close();
        },
      };
    },
  };
}

test(
  'whatever happens to a fleet and its engines, each transition is the one of the history',
  async () => {
    await fc.assert(
      fc.asyncProperty(history, async (one) => {
        const stage = await engineStage({ partitions: 3 });
        try {
          await playHistory(one, embedded(stage));
        } finally {
          await stage.close();
        }
      }),
      { numRuns: RUNS, endOnFailure: true, ...SEED, ...PATH },
    );
  },
  TIMEOUT_MS,
);
