import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { type ExecutionResult, graphql } from 'graphql';
import { model as logistics } from '../../examples/logistics/model.ts';
import { model as ticks } from '../../examples/ticks/model.ts';
import type { Model } from '../../src/domain/model.ts';
import { compileTopic, deviceKey } from '../../src/domain/topic.ts';
import { createRollUp } from '../../src/engine/roll-up.ts';
import { createContext, type SchemaDeps } from '../../src/schema/context.ts';
import { createSchema } from '../../src/schema/index.ts';
import { migrate } from '../../src/store/migrate.ts';
import { readMqttAccounts } from '../../src/store/mqtt-accounts.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';
import { BEGINNING_MS, type EngineStage, engineStage, type RunningEngine } from './engine-stage.ts';

const TIMEOUT = 60_000;

interface Domain {
  database: TestDatabase;
  stage: EngineStage;
  running: RunningEngine;
  send(device: { userId: string; deviceId: string }, ...payloads: object[]): Promise<void>;
  ask(source: string): Promise<Record<string, never>>;
  close(): Promise<void>;
}

/** A model on a database and a log of its own, with the engine running. */
async function domain(model: Model): Promise<Domain> {
  const database = await testDatabase({ empty: true });
  await migrate(database.sql, model);
  const stage = await engineStage({ database, model });
  const running = await stage.start();
  const schema = createSchema(model);
  const topic = compileTopic(model);
  return {
    database,
    stage,
    running,
    async send(device, ...payloads) {
      for (const payload of payloads) {
        const value = Buffer.from(JSON.stringify(payload));
        await stage.log.append({ topic: topic.format(device), key: deviceKey(device), value });
      }
      await stage.stored();
    },
    async ask(source) {
      const deps = { sql: database.sql, model } as unknown as SchemaDeps;
      const contextValue = createContext(deps, { kind: 'operator' });
      const result: ExecutionResult = await graphql({ schema, source, contextValue });
      if (result.errors) throw new Error(result.errors.join('\n'));
      return JSON.parse(JSON.stringify(result.data));
    },
    async close() {
      await stage.close();
      await database.drop();
    },
  };
}

const at = (seconds: number) => new Date(BEGINNING_MS + seconds * 1_000).toISOString();

const ALERTS = `alerts(first: 10) {
  nodes { device { deviceId } ruleId status message evidence { sequenceId } }
}`;

/** Both days in whole. */
const RANGE = `from: "${at(-2 * 86_400).slice(0, 10)}T00:00:00Z", to: "${at(86_400)}"`;

describe('ticks: one owner, no sequence', () => {
  const ACME = { userId: 'market', deviceId: 'ACME' };
  const OLD = { userId: 'market', deviceId: 'OLD' };
  let on: Domain;
  beforeAll(async () => {
    on = await domain(ticks);
    await on.send(OLD, { time: at(-86_400), price: 4 }, { time: at(-86_399), price: 6 });
    await on.send(
      ACME,
      { time: at(0), price: 12.5, volume: 3, venue: 'X' },
      { time: at(1), price: 9.5, symbol: 'ACME' },
      { time: at(1), price: 8 },
      { time: at(2), price: 9, symbol: 'OTHER' },
      { time: at(2), price: -1 },
    );
  }, TIMEOUT);
  afterAll(() => on.close());

  test('the table has the names of the model, and one row a symbol and time', async () => {
    const rows = await on.database.sql`
      SELECT symbol, price, volume, extra_data FROM ticks WHERE symbol = 'ACME' ORDER BY time`;
    expect(rows.map((row) => ({ ...row }))).toEqual([
      { symbol: 'ACME', price: 12.5, volume: 3, extra_data: { venue: 'X' } },
      { symbol: 'ACME', price: 9.5, volume: null, extra_data: null },
    ]);
    const letters = await on.database.sql`SELECT reason FROM dead_letters ORDER BY id`;
    expect(letters.map(({ reason }) => reason)).toEqual(['DEVICE_MISMATCH', 'OUT_OF_RANGE']);
  });

  test("the rules of the model are the owner's, and alert", async () => {
    const { user } = await on.ask(`{ user(id: "market") {
      ${ALERTS}
      ruleSet { version updatedBy rules { ruleId } }
      device(deviceId: "ACME") {
        latest { symbol deviceId sequenceId price volume }
        explainRules(ruleId: "acme-floor") { rule { ruleId } reading { price } alert { status } }
      } } }`);
    const alert = { ruleId: 'acme-floor', status: 'FIRING', message: 'ACME fell to 9.5, below 10' };
    const nodes = [{ device: { deviceId: 'ACME' }, ...alert, evidence: { sequenceId: 0 } }];
    const latest = { symbol: 'ACME', deviceId: 'ACME', sequenceId: 0, price: 9.5, volume: null };
    const rules = (ticks.defaults.rules ?? []).map(({ id }) => ({ ruleId: id }));
    expect(user as unknown).toEqual({
      alerts: { nodes },
      ruleSet: { version: 1, updatedBy: 'model', rules },
      device: {
        latest,
        explainRules: [
          { rule: { ruleId: 'acme-floor' }, reading: { price: 9.5 }, alert: { status: 'FIRING' } },
        ],
      },
    });
  });

  test(
    'lists, buckets, rollups and a backtest find the readings',
    async () => {
      const { sql } = on.database;
      const signal = new AbortController().signal;
      const buckets = async () =>
        (
          await on.ask(`{ user(id: "market") {
        telemetry(keys: ["price", "venue"], deviceIds: ["ACME", "OLD"], ${RANGE}, bucket: "1d",
          fill: NONE) { deviceId key points { count first last } } } }`)
        ).user;
      const raw = await buckets();
      expect(JSON.stringify(raw)).toContain('"points":[{"count":2,"first":4,"last":6}]');
      const round = createRollUp({ sql, model: ticks, signal });
      while (await round()) {}
      expect(await on.stage.count(`rollups WHERE user_id = 'market'`)).toBe(1);
      expect(await buckets()).toEqual(raw);
      const { user } = await on.ask(`{ user(id: "market") {
      device(deviceId: "ACME") { readings(first: 1, order: ASC) {
        nodes { price } pageInfo { endCursor } } }
      backtest(${RANGE}, deviceIds: ["ACME"],
        rule: { key: "price", operator: LT, threshold: 10, message: "low" }) { episodeCount }
    } }`);
      const first = user as unknown as {
        device: { readings: { nodes: object[]; pageInfo: { endCursor: string } } };
        backtest: { episodeCount: number };
      };
      expect(first.backtest.episodeCount).toBe(1);
      expect(first.device.readings.nodes).toEqual([{ price: 12.5 }]);
      const next = await on.ask(`{ user(id: "market") { device(deviceId: "ACME") {
      readings(first: 9, order: ASC, after: "${first.device.readings.pageInfo.endCursor}") {
        nodes { price } } } } }`);
      expect(next.user as unknown).toEqual({ device: { readings: { nodes: [{ price: 9.5 }] } } });
    },
    TIMEOUT,
  );

  test('nobody but the owner has any, and nobody may send any by their role', async () => {
    const { user } = await on
      .ask(`{ user(id: "eve") {
      telemetry(keys: ["price"], deviceIds: ["ACME"], ${RANGE}, bucket: "1d", fill: NONE) {
        points { count } } } }`)
      .catch(() => ({ user: null }));
    expect(JSON.stringify(user)).not.toContain('"count":2');
    const rights = await on.database.sql`SELECT topic FROM mqtt_acl WHERE topic LIKE 'ticks%'`;
    expect(rights).toHaveLength(0);
  });
});

describe('logistics: names of its own', () => {
  const PARCEL = { userId: 'acme', deviceId: 'p1' };
  let on: Domain;
  beforeAll(async () => {
    on = await domain(logistics);
    await on.send(
      PARCEL,
      { time: at(0), sequence_id: 1, status: 'IN_TRANSIT', customer_id: 'acme' },
      { time: at(1), sequence_id: 2, status: 'DELAYED', package_id: 'p1' },
      { time: at(2), sequence_id: 3, status: 'DELAYED', customer_id: 'eve' },
      { time: at(2), status: 'DELAYED' },
    );
  }, TIMEOUT);
  afterAll(() => on.close());

  test('from the message to the alert of a default rule', async () => {
    const rows = await on.database.sql`
      SELECT customer_id, package_id, sequence_id, status FROM package_events ORDER BY time`;
    const of = { customer_id: 'acme', package_id: 'p1' };
    expect(rows.map((row) => ({ ...row }))).toEqual([
      { ...of, sequence_id: 1, status: 'IN_TRANSIT' },
      { ...of, sequence_id: 2, status: 'DELAYED' },
    ]);
    const letters = await on.database.sql`SELECT reason FROM dead_letters ORDER BY id`;
    expect(letters.map(({ reason }) => reason)).toEqual(['DEVICE_MISMATCH', 'MISSING_FIELD']);
    const { user } = await on.ask(`{ user(id: "acme") { ${ALERTS}
      device(deviceId: "p1") { latest { packageId status } } } }`);
    const alert = { ruleId: 'delayed', status: 'FIRING', message: 'Package p1 is delayed' };
    expect(user as unknown).toMatchObject({
      alerts: { nodes: [{ ...alert, evidence: { sequenceId: 2 } }] },
      device: { latest: { packageId: 'p1', status: 'DELAYED' } },
    });
  });

  test(
    'who has deleted the rules of the model does not get them again',
    async () => {
      const { sql } = on.database;
      await sql`DELETE FROM user_configs WHERE user_id = 'acme'`;
      await on.running.stop();
      await on.stage.start();
      await on.send(
        { ...PARCEL, deviceId: 'p2' },
        { time: at(3), sequence_id: 1, status: 'DELAYED' },
      );
      expect(await on.stage.count('user_configs')).toBe(0);
      expect(await on.stage.count('alerts')).toBe(1);
    },
    TIMEOUT,
  );

  test('a user may send what is theirs, by their role', async () => {
    const { sql } = on.database;
    await sql`INSERT INTO mqtt_users (username, password_hash, salt)
              VALUES ('acme', ${'0'.repeat(128)}, 's')`;
    const account = (await readMqttAccounts(sql, ['acme'])).get('acme');
    const topics = account?.rights.map(({ topic }) => topic);
    expect(topics).toContain(`customers/\${username}/packages/+/events`);
  });
});
