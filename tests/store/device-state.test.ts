import { afterAll, beforeAll, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { RuleMemory, RuleState } from '../../src/domain/alert.ts';
import type { Sql } from '../../src/store/connection.ts';
import {
  type DeviceState,
  loadDeviceStates,
  saveDeviceStates,
} from '../../src/store/device-state.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const TIMEOUT_MS = 60_000;
let db: TestDatabase;
beforeAll(async () => {
  db = await testDatabase();
}, 30_000);
afterAll(() => db.drop());

const AT = 1_767_225_600_000_000;
const time = fc.integer({ min: 0, max: 3 }).map((n) => AT + n * 500_001);
const sequenceId = fc.integer({ min: -1, max: 2 });
const ruleState: fc.Arbitrary<RuleState> = fc
  .record({
    time,
    sequenceId,
    measures: fc.constantFrom('temperature >', 'a "b" \\ {c} >', 'silence'),
    kind: fc.constantFrom('calm', 'calm', 'calm', 'open', 'waiting', 'ended'),
  })
  .map(({ kind, ...seen }) => {
    if (kind === 'open') return { ...seen, value: 9, episode: { alertId: 'a', lastSeenAt: AT } };
    if (kind === 'waiting') return { ...seen, since: AT, value: 'x', episode: null };
    return { ...seen, ...(kind === 'ended' && { value: true }), episode: null };
  });
const memory: fc.Arbitrary<RuleMemory> = fc.record(
  {
    version: fc.nat(3),
    rules: fc.dictionary(fc.constantFrom('hot', 'a.b:c', 'x_1', 'calm'), ruleState),
    late: fc.record({ readings: fc.nat(), time, sequenceId }),
    future: fc.record({ readings: fc.nat(), time }),
  },
  { requiredKeys: ['version', 'rules'] },
);
const NAMES = ['d', 'NULL', 'null', '', 'a,b', '{c}', `it's`, '"q"', 'back\\slash', 'ü €', ' '];
const state: fc.Arbitrary<DeviceState> = fc.record({
  userId: fc.constantFrom(...NAMES),
  deviceId: fc.constantFrom(...NAMES),
  partition: fc.nat(7),
  version: fc.constant(1),
  firstSeenAt: time,
  newestTime: fc.option(time),
  lastArrivalAt: time,
  memory,
});
const keyOf = ({ userId, deviceId }: DeviceState) => `${userId}/${deviceId}`;

function save(states: readonly DeviceState[]): Promise<boolean> {
  return db.sql.begin((tx) => saveDeviceStates(tx as never, states));
}

async function load(states: readonly DeviceState[]): Promise<DeviceState[]> {
  const found = await loadDeviceStates(db.sql, states);
  return found.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

test(
  'states are read as they were written, at first and when they are written over',
  async () => {
    const states = fc.uniqueArray(state, { selector: keyOf, minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(states, fc.array(memory, { minLength: 12, maxLength: 12 }), async (a, m) => {
        await db.sql`DELETE FROM device_state`;
        const first = a.sort((x, y) => (keyOf(x) < keyOf(y) ? -1 : 1));
        expect(await save(first)).toBe(true);
        expect(await load(first)).toEqual(first);
        const second = first.map((one, i) => ({
          ...one,
          version: 2,
          newestTime: one.newestTime === null ? AT : null,
          lastArrivalAt: AT + 9,
          memory: m[i] as RuleMemory,
        }));
        expect(await save(second)).toBe(true);
        expect(await load(first)).toEqual(second);
      }),
      { numRuns: 150 },
    );
  },
  TIMEOUT_MS,
);

const calm = (at: number): RuleState => {
  return { time: AT + at, sequenceId: at, measures: 'temperature >', episode: null };
};
const stateOf = (deviceId: string, rules: Record<string, RuleState>): DeviceState => ({
  userId: 'ann',
  deviceId,
  partition: 0,
  version: 1,
  firstSeenAt: AT,
  newestTime: AT,
  lastArrivalAt: AT,
  memory: { version: 1, rules },
});

test('a version that another writer moved is told, and so is a device that is no longer new', async () => {
  const states = [stateOf('one', {}), stateOf('two', {})];
  expect(await save(states)).toBe(true);
  expect(await save([{ ...stateOf('one', {}), version: 2 }, stateOf('two', {})])).toBe(false);
  expect(await save([{ ...stateOf('one', {}), version: 4 }])).toBe(false);
});

test('calm rules take the room of their names alone, and the same from reading to reading', async () => {
  const rules = (at: number) =>
    Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`rule-${n}`, calm(at)]));
  const stored = async (sql: Sql) => {
    const [row] = await sql`
      SELECT rules, calm_time, calm_sequence FROM device_state WHERE device_id = 'calm'`;
    return row;
  };
  await save([stateOf('calm', rules(1))]);
  const before = await stored(db.sql);
  expect(before).toMatchObject({ calm_time: AT + 1, calm_sequence: 1 });
  expect(before?.rules.rules).toEqual({});
  await save([{ ...stateOf('calm', rules(2)), version: 2 }]);
  expect(await stored(db.sql)).toEqual({ ...before, calm_time: AT + 2, calm_sequence: 2 });
});

test('what was written before there were calm rules is read as it is', async () => {
  const { memory: old } = stateOf('old', { hot: calm(1), cold: calm(2) });
  await save([stateOf('old', {})]);
  await db.sql`
    UPDATE device_state SET rules = ${JSON.stringify(old)}::text::jsonb WHERE device_id = 'old'`;
  expect((await load([stateOf('old', {})]))[0]?.memory).toEqual(old);
});
