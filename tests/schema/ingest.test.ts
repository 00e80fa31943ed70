import { afterAll, beforeAll, expect, test } from 'bun:test';
import { graphql } from 'graphql';
import { formatMicros } from '../../src/domain/time.ts';
import { createIngestWatch } from '../../src/engine/ingest-watch.ts';
import { model } from '../../src/model.ts';
import { createContext } from '../../src/schema/context.ts';
import { createSchema } from '../../src/schema/index.ts';
import { connect } from '../../src/store/connection.ts';
import { type Answer, STATUS, type Stage, silent, stage, until } from './support.ts';

let on: Stage;
beforeAll(async () => {
  on = await stage();
}, 30_000);
afterAll(() => on.close());

const moveTo = (partition: number, watermark: number, secondsAgo: number) =>
  on.sql`
    INSERT INTO watermarks (log_id, topic, partition, watermark, covered_at)
    VALUES ('log', 'iot-stream', ${partition}, ${watermark},
      ${formatMicros((Date.now() - secondsAgo * 1_000) * 1_000)})
    ON CONFLICT (log_id, topic, partition) DO UPDATE
      SET watermark = EXCLUDED.watermark, covered_at = EXCLUDED.covered_at`.execute();

test('partitions of other processes come from the database and the log, those here from memory', async () => {
  const sql = connect(on.url, { max: 1 });
  const ends = new Map([
    [0, 45],
    [1, 2],
    [2, 120],
  ]);
  const source = { logId: 'log', topic: 'iot-stream', ends: async () => ends };
  const engineStatus = () => STATUS;
  const watch = createIngestWatch({ sql, source, engineStatus, logger: silent });
  try {
    await moveTo(0, 30, 7);
    await moveTo(2, 99, 70);
    await on.sql`INSERT INTO watermarks (log_id, topic, partition, watermark, covered_at)
      VALUES ('another log', 'iot-stream', 3, 1, now())`;
    const first = await watch.partitions();
    expect(first).toMatchObject([
      { partition: 0, state: 'RUNNING', watermark: 41, end: 45, lag: 3 },
      { partition: 1, state: 'WAITING', problem: 'database away', watermark: -1, lag: 2 },
      { partition: 2, state: null, watermark: 99, end: 120, lag: 20, rate: null },
    ]);
    await moveTo(2, 119, 1);
    let moved = await watch.partitions();
    const deadline = performance.now() + 20_000;
    while (moved[2]?.lag !== 0 && performance.now() < deadline) {
      await Bun.sleep(20);
      moved = await watch.partitions();
    }
    expect(moved[2]).toMatchObject({ watermark: 119, lag: 0 });
    expect(moved[2]?.rate).toBeGreaterThan(0);
    expect(moved[2]?.rate).toBeLessThanOrEqual(40);
    expect(moved[0]?.rate ?? 0).toBe(0);
  } finally {
    watch.close();
    await sql.end({ timeout: 1 });
  }
  // Without the database: what is known here.
  const [left] = await createIngestWatchWithout(sql).partitions();
  expect(left).toMatchObject({ partition: 0, state: 'RUNNING', lag: 3 });
}, 60_000);

/** On a pool that is closed. */
function createIngestWatchWithout(sql: ReturnType<typeof connect>) {
  const source = { logId: 'log', topic: 'iot-stream' };
  const watch = createIngestWatch({ sql, source, engineStatus: () => STATUS, logger: silent });
  watch.close();
  return watch;
}

test('a dashboard follows it each second; nobody but an operator does', async () => {
  const client = on.client();
  const heard: Answer['data'][] = [];
  const leave = client.subscribe<Record<string, unknown>>(
    { query: 'subscription { ingestStatus { lag partitions { partition lag } } }' },
    {
      next: ({ data }) => heard.push(data?.ingestStatus),
      error: () => {},
      complete: () => {},
    },
  );
  await until(() => heard.length >= 3, 20_000);
  leave();
  expect(heard[2].partitions[0]).toMatchObject({ partition: 0, lag: 3 });

  const contextValue = createContext(on.deps, { kind: 'user', userId: 'ann' });
  const source = '{ ingest { lag } }';
  const refused = await graphql({ schema: createSchema(model), source, contextValue });
  expect(refused.errors?.[0]?.extensions.code).toBe('FORBIDDEN');
}, 60_000);
