import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type Evidence, NO_MEMORY, type Transition } from '../../src/domain/alert.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import type { Reading } from '../../src/domain/reading.ts';
import { reconcile } from '../../src/domain/reconcile.ts';
import { evaluate } from '../../src/domain/reducer.ts';
import type { Rule, ThresholdRule } from '../../src/domain/rule.ts';
import { renderMessage } from '../../src/domain/transitions.ts';
import { datedTransitions, type Step } from '../support/alert-oracle.ts';
import { DEVICE, RULE_IDS, ruleSetOf, rules, series, steps } from '../support/rule-series.ts';

const evidence: Evidence = { partition: 0, offset: 7, arrival: 1_000 };

function run(steps: readonly Step[]) {
  let memory = NO_MEMORY;
  const transitions: Transition[] = [];
  for (const { reading, ruleSet } of steps) {
    const result =
      reading === null
        ? reconcile(memory, { userId: 'user', deviceId: DEVICE }, ruleSet, 0)
        : evaluate(memory, reading, ruleSet, evidence);
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
      const { type, time, holdingSince: since } = t;
      return [{ ruleId, type, reason: null, time, startedBy, since }];
    }
    if (t.ruleId !== ruleId) return [];
    const startedBy = begun.get(t.alertId);
    const { type, reason, time } = t;
    return [{ ruleId, type, reason, time, startedBy, since: null }];
  });
}

describe('evaluate', () => {
  test('agrees with the naive version over any series of readings and rules', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const { transitions } = run(all);
        for (const ruleId of RULE_IDS) {
          expect(named(transitions, ruleId)).toEqual(datedTransitions(all, ruleId));
        }
      }),
      { numRuns: 4_000 },
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
    const hot = ruleSetOf(1, [above({ id: 'hot', threshold: 80 })]);
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
      above({ id: 's', key: 'state', operator: '!=', threshold: 'OK' }),
      above({ id: 'd', key: 'door.open', operator: '==', threshold: true }),
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
    const all = keys.map((key, n) => above({ id: `r${n}`, key, operator: '!=', threshold: 'x' }));
    const result = evaluate(
      NO_MEMORY,
      { ...at(1, 1), extra: { a: 'text' } },
      ruleSetOf(1, all),
      evidence,
    );
    expect(result.transitions).toEqual([]);
  });
});

test('a rule that was gone fires on the same reading again, as another alert', () => {
  const set = (version: number) => ruleSetOf(version, [above({ id: 'hot' })]);
  const first = evaluate(NO_MEMORY, at(1, 85), set(1), evidence);
  const gone = reconcile(first.memory, at(1, 85), ruleSetOf(2, []), 0);
  const again = evaluate(gone.memory, at(1, 85), set(3), evidence);
  expect(again.transitions).toMatchObject([{ type: 'FIRED' }]);
  expect(again.transitions[0]?.alertId).not.toBe(first.transitions[0]?.alertId as string);
});

test('memory from before there was `for` and `clear` goes on, and ends', () => {
  const set = (version: number, threshold: number) =>
    ruleSetOf(version, [
      above({ id: 'hot', threshold, for: 'PT1H', clear: { for: 'PT0.000005S' } }),
    ]);
  const state = { time: 5, sequenceId: 5, measures: 'temperature >' };
  const open = { hot: { ...state, episode: { alertId: 'a', lastSeenAt: 5 } } };
  const idle = { hot: { ...state, episode: null } };
  // What it saw last is not known: an edit leaves it to the next reading.
  const edited = reconcile({ version: 1, rules: open }, at(5, 0), set(2, 99), 0);
  expect(edited).toEqual({ memory: { version: 2, rules: open }, transitions: [] });
  const cooling = evaluate(edited.memory, at(6, 70), set(2, 80), evidence);
  expect(cooling.transitions).toEqual([]);
  expect(evaluate(cooling.memory, at(11, 70), set(2, 80), evidence).transitions).toMatchObject([
    { type: 'RESOLVED', reason: 'CLEARED', alertId: 'a', time: 11 },
  ]);
  const heated = evaluate({ version: 1, rules: idle }, at(6, 90), set(2, 80), evidence);
  expect(heated.transitions).toEqual([]);
  expect(heated.memory.rules.hot?.since).toBe(6);
  expect(evaluate({ version: 1, rules: idle }, at(5, 90), set(2, 80), evidence).late).toBe(1);
});

describe('reconcile', () => {
  test('does nothing while the version stands', () => {
    const memory = { version: 3, rules: {} };
    const result = reconcile(memory, { userId: 'u', deviceId: 'd' }, ruleSetOf(3, []), null);
    expect(result.memory).toBe(memory);
    expect(result.transitions).toEqual([]);
  });

  test('ends the open episodes of rules that went, at the time they were last seen', () => {
    const hot = above({ id: 'hot', threshold: 80 });
    const { memory } = evaluate(NO_MEMORY, at(5, 85), ruleSetOf(1, [hot]), evidence);
    const device = { userId: 'user', deviceId: DEVICE };
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
  const told = above({ id: 's', key: 'state', operator: '!=', threshold: 'OK' });
  const message = '{device_id}: {key} is {value}, not {threshold} {unknown} $&';
  expect(renderMessage({ ...told, message }, '{value}', '{key}$1')).toBe(
    '{value}: state is {key}$1, not OK {unknown} $&',
  );
});

function above(part: Partial<ThresholdRule> & { id: string }): ThresholdRule {
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
