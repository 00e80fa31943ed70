import { describe, test } from 'bun:test';
import fc from 'fast-check';
import { history } from '../support/history.ts';
import { noKafka } from '../support/kafka.ts';
import { eventually } from '../support/process.ts';
import { type KafkaStage, kafkaStage } from './kafka-stage.ts';
import { type HistoryStage, playHistory } from './play-history.ts';

/** Each takes ten seconds or so: a group that changes rests for a while. */
const RUNS = Number(process.env.KAFKA_HISTORY_RUNS ?? 2);
const SEED = process.env.HISTORY_SEED ? { seed: Number(process.env.HISTORY_SEED) } : {};
const PATH = process.env.HISTORY_PATH ? { path: process.env.HISTORY_PATH } : {};
const TIMEOUT_MS = 60_000 + RUNS * 60_000;
const WITHIN_MS = 40_000;

/** Kafka, whose partitions change hands whenever an engine comes or goes. */
function onKafka(stage: KafkaStage): HistoryStage {
  let appended = 0;
  return {
    sql: stage.db.sql,
    async append(messages) {
      appended += messages.length;
      await stage.log.append(messages);
    },
    async stored() {
      const covered = async () => {
        const [row] = await stage.db.sql<{ n: number }[]>`
          SELECT coalesce(sum(watermark + 1), 0)::int AS n FROM watermarks`;
        return row?.n ?? 0;
      };
      await eventually(
        `${appended} records`,
        async () => (await covered()) === appended,
        WITHIN_MS,
      ).catch(async (error: Error) => {
        throw new Error(`${error.message}: ${await covered()} are covered`);
      });
    },
    async start() {
      const { rules, stop } = await stage.start();
      return { rules, end: stop };
    },
  };
}

describe.skipIf(noKafka)('a history on Kafka', () => {
  test(
    'whatever changes hands, each transition is the one of the history',
    async () => {
      await fc.assert(
        fc.asyncProperty(history, async ({ actions }) => {
          const stage = await kafkaStage({ partitions: 3 });
          try {
            // From the beginning, and for once in the middle, the partitions are shared.
            const middle = Math.floor(actions.length / 2);
            const shared = [...actions.slice(0, 2), { kind: 'join' } as const, ...actions.slice(2)];
            shared.splice(middle, 0, { kind: 'leave', abruptly: false }, { kind: 'join' });
            await playHistory({ actions: shared }, onKafka(stage));
          } finally {
            await stage.close();
          }
        }),
        { numRuns: RUNS, endOnFailure: true, ...SEED, ...PATH },
      );
    },
    TIMEOUT_MS,
  );
});
