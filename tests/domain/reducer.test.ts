import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type Evidence, NO_MEMORY, type Transition } from '../../src/domain/alert.ts';
import { type JsonObject, parseJson } from '../../src/domain/json.ts';
import type { Reading } from '../../src/domain/reading.ts';
import { reconcile } from '../../src/domain/reconcile.ts';
import { evaluate } from '../../src/domain/reducer.ts';
import { OPERATORS, type Rule, type RuleSet, type ThresholdRule } from '../../src/domain/rule.ts';
import { toRuleSet } from '../../src/domain/rule-content.ts';
import { renderMessage } from '../../src/domain/transitions.ts';
import { model } from '../../src/model.ts';
import { expectedTransitions, type Step } from '../support/alert-oracle.ts';

const RULE_IDS = ['a', 'b', 'c'];

const rule = (id: string): fc.Arbitrary<ThresholdRule> =>
  fc.record({
    id: fc.constant(id),
    key: fc.constantFrom('temperature', 'engine.rpm'),
    operator: fc.constantFrom(...OPERATORS),
    threshold: fc.integer({ min: -2, max: 2 }),
    message: fc.constant('m'),
    severity: fc.constant('WARNING' as const),
    enabled: fc.boolean(),
  });

const rules = fc
  .tuple(...RULE_IDS.map((id) => fc.option(rule(id), { nil: null })))
  .map((all) => all.filter((one) => one !== null));

function ruleSetOf(version: number, all: readonly Rule[]): RuleSet {
  return toRuleSet({ userId: 'user', version, content: { shorthands: {}, rules: all }, model });
}

const number = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: -3, max: 3 }) },
  { weight: 1, arbitrary: fc.constantFrom(Number.NaN, Infinity, -Infinity, -0, 0.5) },
);

const extra: fc.Arbitrary<JsonObject | null> = fc.oneof(
  number.map((rpm) => ({ engine: { rpm } })),
  fc.constantFrom<JsonObject | null>(
    null,
    {},
    { engine: 3 },
    { engine: { rpm: '3' } },
    { engine: { rpm: null } },
    { engine: [] },
    parseJson('{"engine":{"rpm":1e999}}') as JsonObject,
  ),
);

/** Few times and sequence ids, so that late and repeated readings are frequent. */
const reading: fc.Arbitrary<Reading> = fc.record({
  time: fc.integer({ min: 0, max: 12 }),
  userId: fc.constant('user'),
  deviceId: fc.constant('device'),
  sequenceId: fc.integer({ min: 0, max: 3 }),
  columns: fc.record({ temperature: fc.option(number, { nil: null }) }),
  extra,
});

/** Readings that mostly move on, under rules that now and then change. */
const series: fc.Arbitrary<Step[]> = fc
  .array(fc.tuple(reading, fc.boolean(), fc.option(rules, { freq: 6, nil: null })), {
    maxLength: 40,
  })
  .map((items) => {
    let ruleSet = ruleSetOf(1, []);
    return items.map(([given, moves, change], index) => {
      if (change !== null) ruleSet = ruleSetOf(ruleSet.version + 1, change);
      return { reading: moves ? { ...given, time: given.time + index } : given, ruleSet };
    });
  });

const evidence: Evidence = { partition: 0, offset: 7, arrival: 1_000 };

function run(steps: readonly Step[]) {
  let memory = NO_MEMORY;
  const transitions: Transition[] = [];
  for (const step of steps) {
    const result = evaluate(memory, step.reading, step.ruleSet, evidence);
    memory = result.memory;
    transitions.push(...result.transitions);
  }
  return { memory, transitions };
}

function named(transitions: readonly Transition[], ruleId: string): unknown[] {
  const begun = new Map<string, { time: number; sequenceId: number | null }>();
  return transitions.flatMap((t): unknown[] => {
    if (t.type === 'FIRED') {
      if (t.rule.id !== ruleId) return [];
      const startedBy = { time: t.time, sequenceId: t.sequenceId };
      begun.set(t.alertId, startedBy);
      return [{ ruleId, type: t.type, reason: null, time: t.time, startedBy }];
    }
    if (t.ruleId !== ruleId) return [];
    const startedBy = begun.get(t.alertId);
    return [{ ruleId, type: t.type, reason: t.reason, time: t.time, startedBy }];
  });
}

describe('evaluate', () => {
  test('agrees with the naive version over any series of readings and rules', () => {
    fc.assert(
      fc.property(series, (steps) => {
        const { transitions } = run(steps);
        for (const ruleId of RULE_IDS) {
          expect(named(transitions, ruleId)).toEqual(expectedTransitions(steps, ruleId));
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('gives the same ids for the same input, also from a memory that was stored', () => {
    fc.assert(
      fc.property(series, fc.nat(), (steps, cut) => {
        const whole = run(steps);
        expect(run(steps)).toEqual(whole);
        const at = cut % (steps.length + 1);
        const first = run(steps.slice(0, at));
        let memory = JSON.parse(JSON.stringify(first.memory));
        const transitions = [...first.transitions];
        for (const step of steps.slice(at)) {
          const result = evaluate(memory, step.reading, step.ruleSet, evidence);
          memory = JSON.parse(JSON.stringify(result.memory));
          transitions.push(...result.transitions);
        }
        expect(transitions).toEqual(whole.transitions);
      }),
    );
  });

  test('never changes what it is given', () => {
    fc.assert(
      fc.property(series, (steps) => {
        let memory = deepFreeze(structuredClone(NO_MEMORY));
        for (const step of steps) {
          const before = JSON.stringify([memory, step]);
          const result = evaluate(memory, step.reading, deepFreeze(step.ruleSet), evidence);
          expect(JSON.stringify([memory, step])).toBe(before);
          memory = deepFreeze(result.memory);
        }
      }),
    );
  });

  test('the same readings again fire nothing and change nothing', () => {
    fc.assert(
      fc.property(series, rules, (steps, all) => {
        const fixed = steps.map((step) => ({ ...step, ruleSet: ruleSetOf(1, all) }));
        const { memory } = run(fixed);
        for (const { reading: again, ruleSet } of fixed) {
          const result = evaluate(memory, again, ruleSet, evidence);
          expect(result.transitions).toEqual([]);
          expect(result.held).toEqual([]);
          expect(result.memory.rules).toEqual(memory.rules);
        }
      }),
    );
  });

  test('an alert fires once and resolves once, and events have ids of their own', () => {
    fc.assert(
      fc.property(series, rules, (steps, all) => {
        const { transitions, memory } = run(
          steps.map((step) => ({ ...step, ruleSet: ruleSetOf(1, all) })),
        );
        const ids = transitions.map(({ eventId }) => eventId);
        expect(new Set(ids).size).toBe(ids.length);
        const fired = transitions.filter(({ type }) => type === 'FIRED').map((t) => t.alertId);
        const resolved = transitions.filter((t) => t.type === 'RESOLVED').map((t) => t.alertId);
        expect(new Set(fired).size).toBe(fired.length);
        expect(new Set(resolved).size).toBe(resolved.length);
        expect(resolved.every((id) => fired.includes(id))).toBe(true);
        const open = Object.values(memory.rules).filter(({ episode }) => episode !== null);
        expect(open).toHaveLength(fired.length - resolved.length);
      }),
    );
  });

  test('what holds moves the open alert to the newest reading', () => {
    const hot = ruleSetOf(1, [given({ id: 'hot', threshold: 80 })]);
    const first = evaluate(NO_MEMORY, at(1, 85), hot, evidence);
    const second = evaluate(first.memory, at(2, 90), hot, evidence);
    const alertId = first.transitions[0]?.alertId as string;
    expect(second.transitions).toEqual([]);
    expect(second.held).toEqual([{ alertId, lastSeenAt: 2, value: 90 }]);
    const third = evaluate(second.memory, at(3, 80), hot, evidence);
    expect(third.held).toEqual([]);
    expect(third.transitions).toMatchObject([{ type: 'RESOLVED', alertId, value: 80, time: 3 }]);
  });

  test('compares text and booleans only with their own type', () => {
    const state = ruleSetOf(1, [
      given({ id: 's', key: 'state', operator: '!=', threshold: 'OK' }),
      given({ id: 'd', key: 'door.open', operator: '==', threshold: true }),
    ]);
    const fires = (other: JsonObject) =>
      evaluate(NO_MEMORY, { ...at(1, null), extra: other }, state, evidence).transitions.map(
        (t) => t.type === 'FIRED' && t.rule.id,
      );
    expect(fires({ state: 'FAULT', door: { open: true } })).toEqual(['s', 'd']);
    expect(fires({ state: 'OK', door: { open: 'true' } })).toEqual([]);
    expect(fires({ state: 3, door: { open: 1 } })).toEqual([]);
    expect(fires({ 'door.open': true, door: { open: false } })).toEqual(['d']);
  });

  test('looks at own fields only', () => {
    const keys = ['toString', 'constructor.name', '__proto__.x', 'a.length.constructor'];
    const all = keys.map((key, n) => given({ id: `r${n}`, key, operator: '!=', threshold: 'x' }));
    const result = evaluate(
      NO_MEMORY,
      { ...at(1, 1), extra: { a: 'text' } },
      ruleSetOf(1, all),
      evidence,
    );
    expect(result.transitions).toEqual([]);
  });
});

describe('reconcile', () => {
  test('does nothing while the version stands', () => {
    const memory = { version: 3, rules: {} };
    const result = reconcile(memory, { userId: 'u', deviceId: 'd' }, ruleSetOf(3, []), null);
    expect(result.memory).toBe(memory);
    expect(result.transitions).toEqual([]);
  });

  test('ends the open episodes of rules that went, at the time they were last seen', () => {
    const hot = given({ id: 'hot', threshold: 80 });
    const { memory } = evaluate(NO_MEMORY, at(5, 85), ruleSetOf(1, [hot]), evidence);
    const device = { userId: 'user', deviceId: 'device' };
    const reasonOf = (all: Rule[]) =>
      reconcile(memory, device, ruleSetOf(2, all), null).transitions.map((t) => [
        t.type === 'RESOLVED' && t.reason,
        t.time,
      ]);
    expect(reasonOf([])).toEqual([['RULE_DELETED', 5]]);
    expect(reasonOf([{ ...hot, enabled: false }])).toEqual([['RULE_DISABLED', 5]]);
    expect(reasonOf([{ ...hot, operator: '<' }])).toEqual([['RULE_EDITED', 5]]);
    expect(reasonOf([{ ...hot, threshold: 100 }])).toEqual([['RULE_EDITED', 5]]);
    expect(reasonOf([{ ...hot, threshold: 84 }])).toEqual([]);
  });
});

test('a message is filled in once: what comes from a device is not looked into', () => {
  const told = given({ id: 's', key: 'state', operator: '!=', threshold: 'OK' });
  const message = '{device_id}: {key} is {value}, not {threshold} {unknown} $&';
  expect(renderMessage({ ...told, message }, '{value}', '{key}$1')).toBe(
    '{value}: state is {key}$1, not OK {unknown} $&',
  );
});

function given(part: Partial<ThresholdRule> & { id: string }): ThresholdRule {
  return {
    key: 'temperature',
    operator: '>',
    threshold: 0,
    message: 'm',
    severity: 'WARNING',
    enabled: true,
    ...part,
  };
}

function at(time: number, temperature: number | null): Reading {
  const key = { userId: 'user', deviceId: 'device', time, sequenceId: time };
  return { ...key, columns: { temperature }, extra: null };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
