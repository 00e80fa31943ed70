import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { covers } from '../../src/domain/active-rule.ts';
import { NO_MEMORY, type Transition } from '../../src/domain/alert.ts';
import { silence } from '../../src/domain/reducer.ts';
import type { RuleSet } from '../../src/domain/rule.ts';
import { parseConfig } from '../../src/domain/rule-config.ts';
import { mergeConfig } from '../../src/domain/rule-content.ts';
import { MICROS_PER_SECOND } from '../../src/domain/time.ts';
import { createSilenceWatch } from '../../src/engine/silence-watch.ts';
import { model } from '../../src/model.ts';
import { changeRules } from '../../src/store/change-rules.ts';
import { type DeviceState, saveDeviceStates } from '../../src/store/device-state.ts';
import { anySilenceRule, loadSilentDevices } from '../../src/store/silent-devices.ts';
import { writeAlerts } from '../../src/store/write-alerts.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

const NOW = 1_700_000_000 * MICROS_PER_SECOND;
const ago = (seconds: number) => NOW - Math.round(seconds * MICROS_PER_SECOND);

let db: TestDatabase;
beforeEach(async () => {
  db = await testDatabase();
}, 30_000);
afterEach(() => db.drop(), 30_000);

async function setRules(userId: string, config: object): Promise<RuleSet> {
  const parsed = parseConfig(config, model);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues));
  const { config: patch } = parsed;
  const changed = await changeRules(db.sql, {
    ...{ userId, actor: 'test', model },
    change: (current) => mergeConfig(current, patch, model),
  });
  if (changed.kind !== 'ok') throw new Error(changed.kind);
  return changed.ruleSet;
}

function device(userId: string, deviceId: string, lastArrivalAt: number): DeviceState {
  const seen = { firstSeenAt: lastArrivalAt, newestTime: null, lastArrivalAt };
  return { userId, deviceId, partition: 0, version: 1, ...seen, memory: NO_MEMORY };
}

const save = (states: readonly DeviceState[]) =>
  db.sql.begin((tx) => saveDeviceStates(tx as never, states));

async function load(flowingSince = 0, limit = 10_000): Promise<string[]> {
  const clock = { at: NOW, flowingSince, partition: 0, offset: 7 };
  const after = { userId: '', deviceId: '' };
  const found = await loadSilentDevices(db.sql, { clock, partitions: 1, after, limit });
  return found.map(({ userId, deviceId }) => `${userId}/${deviceId}`);
}

describe('the devices that are silent', () => {
  const names = ['pump_1', 'pump-1', 'pumpx1', 'PUMP_1', '100%', '100', 'a\\b', 'a\\\\b', '*', '?'];
  const odd = ['.', 'é', 'e\u0301', '😀', 'a😀b', ' ', "'", '"', '$1', '\\', '_', '%', 'a\nb', '['];
  const part = fc.constantFrom(
    '*',
    '?',
    '_',
    '%',
    '\\',
    '.',
    'a',
    'b',
    'pump',
    '1',
    '😀',
    'é',
    "'",
  );
  const glob = fc.oneof(
    fc.constantFrom(...names, ...odd),
    fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('')),
  );

  test('are by their globs those that the reducer takes', async () => {
    const devices = [...names, ...odd];
    const globs = fc.sample(glob, 150);
    const users = globs.map((_, index) => `u${index}`);
    await save(users.flatMap((user) => devices.map((id) => device(user, id, ago(60)))));
    const expected: string[] = [];
    for (const [index, user] of users.entries()) {
      const rule = { noData: '1m', message: 'm', devices: globs[index] };
      const { silences } = await setRules(user, { rules: [rule] });
      const [active] = silences;
      if (active === undefined) throw new Error('no rule');
      for (const id of devices) if (covers(active, id)) expected.push(`${user}/${id}`);
    }
    expect((await load()).sort()).toEqual(expected.sort());
  }, 60_000);

  /** Anything that decides: durations, arrivals, an interruption, what is off, what is open. */
  const world = fc.record({
    rules: fc.array(
      fc.record({
        noData: fc.constantFrom('15s', '1m', '90s', 'P1D', 'P1W', 'P366D'),
        message: fc.constant('m'),
        enabled: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, fc.boolean()),
        devices: fc.option(fc.constantFrom('a*', '?', '*'), { nil: undefined }),
      }),
      { maxLength: 3 },
    ),
    disabled: fc.dictionary(fc.constantFrom('no-data', 'no-data-2'), fc.subarray(['a', 'ab', 'b'])),
    devices: fc.uniqueArray(
      fc.record({
        id: fc.constantFrom('a', 'ab', 'b', 'c'),
        silent: fc.constantFrom(0, 14.999999, 15, 60, 90, 86_400, 604_799.999999, 604_800, 4e7),
        fired: fc.boolean(),
      }),
      { selector: ({ id }) => id, minLength: 1 },
    ),
    flowing: fc.constantFrom(14.999999, 15, 60, 89, 86_400, 1e9),
  });

  test('are those for which the reducer fires, and no others', async () => {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(world, async ({ rules, disabled, devices, flowing }) => {
        const userId = `w${count++}`;
        await db.sql`DELETE FROM device_state`;
        const ruleSet = await setRules(userId, { rules, disabled });
        const clock = { at: NOW, flowingSince: ago(flowing), partition: 0, offset: 7 };
        const fired: Transition[] = [];
        const states = devices.map(({ id, silent, fired: isFired }) => {
          const state = device(userId, id, ago(silent));
          if (!isFired) return state;
          // What was due a while ago has fired: some of the rules have an alert open by now.
          const before = { ...clock, at: ago(60) };
          const result = silence(state.memory, state, ruleSet, before);
          fired.push(...result.transitions);
          return { ...state, memory: result.memory };
        });
        await save(states);
        await db.sql.begin((tx) => writeAlerts(tx as never, fired, []));
        const expected = states
          .filter((state) => silence(state.memory, state, ruleSet, clock).transitions.length > 0)
          .map(({ deviceId }) => `${userId}/${deviceId}`);
        expect(await load(clock.flowingSince)).toEqual(expected.sort());
      }),
      { numRuns: 150 },
    );
  }, 60_000);

  test('are those for which another of their rules has fired, too', async () => {
    const rules = [15, 60].map((seconds) => ({ noData: `${seconds}s`, message: 'm' }));
    const ruleSet = await setRules('u', { rules });
    const state = device('u', 'd', ago(60));
    const clock = { flowingSince: 0, partition: 0, offset: 7 };
    const { memory, transitions } = silence(state.memory, state, ruleSet, { ...clock, at: ago(1) });
    expect(transitions).toHaveLength(1);
    await save([{ ...state, memory }]);
    await db.sql.begin((tx) => writeAlerts(tx as never, transitions, []));
    expect(await load()).toEqual(['u/d']);
  });

  test('come a page after the other, each once', async () => {
    await setRules('a', { rules: [{ noData: '1m', message: 'm' }] });
    await setRules('b', {
      rules: [
        { noData: '1m', message: 'm' },
        { noData: '2m', message: 'm' },
      ],
    });
    const ids = Array.from({ length: 25 }, (_, n) => `d${n}`);
    await save(['a', 'b'].flatMap((user) => ids.map((id) => device(user, id, ago(300)))));
    const found: string[] = [];
    let after = { userId: '', deviceId: '' };
    for (;;) {
      const clock = { at: NOW, flowingSince: 0, partition: 0, offset: 7 };
      const page = await loadSilentDevices(db.sql, { clock, partitions: 1, after, limit: 7 });
      const last = page.at(-1);
      if (last === undefined) break;
      after = last;
      found.push(...page.map(({ userId, deviceId }) => `${userId}/${deviceId}`));
    }
    expect(found).toHaveLength(50);
    expect(new Set(found).size).toBe(50);
  });
});

test('where nobody has such a rule nothing is asked', async () => {
  expect(await anySilenceRule(db.sql)).toBe(false);
  await setRules('a', { rules: [{ key: 'x', operator: '>', threshold: 1, message: 'm' }] });
  expect(await anySilenceRule(db.sql)).toBe(false);
  await setRules('b', { rules: [{ noData: '1m', message: 'm' }] });
  expect(await anySilenceRule(db.sql)).toBe(true);
  await setRules('b', { rules: [] });
  expect(await anySilenceRule(db.sql)).toBe(false);

  const asks = () => Promise.reject(new Error('asked'));
  const deps = { writer: { query: asks }, rulesFor: asks, logPartitions: asks };
  let isWatched = false;
  const rules = { watchSilence: () => isWatched };
  const watch = createSilenceWatch({ ...deps, rules }, { partition: 0 });
  const watermark = { offset: 1, coveredAt: NOW, flowingSince: 0 };
  expect(watch.isDue(watermark)).toBe(false);
  isWatched = true;
  expect(watch.isDue(watermark)).toBe(true);
});

test('a look makes a batch of those that fire, and asks once for the partitions', async () => {
  const ruleSet = await setRules('u', { rules: [{ noData: '1m', message: 'm' }] });
  await save(['d1', 'd2', 'd3'].map((id, n) => device('u', id, ago(n === 1 ? 59 : 60))));
  let asked = 0;
  const watch = createSilenceWatch(
    {
      writer: { query: (_, work) => work(db.sql) },
      rulesFor: async () => new Map([['u', ruleSet]]),
      rules: { watchSilence: () => true },
      logPartitions: async () => ++asked,
    },
    { partition: 0 },
  );
  const watermark = { offset: 7, coveredAt: NOW, flowingSince: 0 };
  const { signal } = new AbortController();
  for (const _ of [1, 2]) {
    const batches = await Array.fromAsync(watch.batches(watermark, signal));
    expect(batches.map(({ devices }) => [...devices.keys()])).toEqual([['u/d1', 'u/d3']]);
    expect(batches[0]?.ruleVersions).toEqual(new Map([['u', ruleSet.version]]));
    expect(batches[0]).toMatchObject({ records: 0, lastOffset: -1 });
  }
  expect(asked).toBe(1);
  // Until the log has moved on.
  expect(watch.isDue({ ...watermark, coveredAt: NOW + MICROS_PER_SECOND })).toBe(false);
});
