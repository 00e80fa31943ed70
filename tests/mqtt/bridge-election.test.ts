import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { runForOffice } from '../../src/engine/elect.ts';
import { connect } from '../../src/store/connection.ts';
import { LOCKS } from '../../src/store/migrations.ts';
import { noMosquitto } from '../support/mosquitto.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import {
  BridgeCleanup,
  firstsByDevice,
  numbersByDevice,
  publishNumbers,
} from './bridge-harness.ts';
import { memoryLog, recordingLogger, until } from './helpers.ts';

const TEST_MS = 60_000;
const cleanup = new BridgeCleanup();
let db: TestDatabase;

beforeEach(async () => {
  db = await testDatabase({ empty: true });
  cleanup.add(() => db.drop());
}, TEST_MS);
afterEach(() => cleanup.end(), TEST_MS);

/** One replica of several, on the same database, broker and log. */
async function replica(url: string, appender: ReturnType<typeof memoryLog>['appender']) {
  const openSession = () => connect(db.url, { max: 1, applicationName: 'bridge-lock' });
  const options = { openSession, lock: LOCKS.bridge, name: 'bridge', intervalMs: 50 };
  const { logger } = recordingLogger();
  return await cleanup.bridge(
    {
      url,
      appender,
      elect: (term, signal) => runForOffice({ ...options, term, logger, signal }),
    },
    { wait: false },
  );
}

async function lockHolder(): Promise<number | null> {
  const [row] = await db.sql<{ pid: number }[]>`
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
      AND objid = ${LOCKS.bridge}::bigint::oid
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
  return row?.pid ?? null;
}

describe.skipIf(noMosquitto)('of two replicas', () => {
  test(
    'one has the session; the other takes over when its turn is lost, or it closes',
    async () => {
      const mosquitto = await cleanup.mosquitto();
      const log = memoryLog();
      const bridges = [
        await replica(mosquitto.url, log.appender),
        await replica(mosquitto.url, log.appender),
      ] as const;
      const connected = () => bridges.filter((bridge) => bridge.connected);
      const client = await cleanup.client(mosquitto.url);
      let published = 0;
      const arrive = async () => {
        await publishNumbers(client, { from: published, count: 100 });
        published += 100;
        await until('all in the log', () => new Set(log.texts()).size === published, 10_000);
      };
      await until('one is elected', () => connected().length === 1, 10_000);
      await arrive();

      for (let round = 0; round < 3; round++) {
        const holder = await lockHolder();
        const terms = () => bridges.reduce((sum, bridge) => sum + bridge.stats().connects, 0);
        const before = terms();
        await db.sql`SELECT pg_terminate_backend(${holder})`;
        await until('another term', () => terms() > before && connected().length === 1, 20_000);
        expect(await lockHolder()).not.toBe(holder);
        await arrive();
      }

      const [active] = connected();
      const standby = bridges.find((bridge) => bridge !== active);
      await active?.close();
      await until('the other one', () => standby?.connected === true, 20_000);
      await arrive();
      expect(firstsByDevice(log.messages)).toEqual(numbersByDevice(published));
      expect(mosquitto.said()).toContain('pulsegraph-bridge');
    },
    TEST_MS,
  );
});
