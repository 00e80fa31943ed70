import fc from 'fast-check';
import { type JsonObject, type JsonValue, parseJson } from '../../src/domain/json.ts';
import type { Reading } from '../../src/domain/reading.ts';
import {
  type Clear,
  type Disabled,
  OPERATORS,
  type Rule,
  type RuleSet,
  type Scalar,
  type ThresholdRule,
} from '../../src/domain/rule.ts';
import { toRuleSet } from '../../src/domain/rule-content.ts';
import { model } from '../../src/model.ts';
import type { Step } from './alert-oracle.ts';

export const RULE_IDS = ['a', 'b', 'c'];

export const DEVICE = 'device';

/** Times here are a few microseconds. */
const duration = fc.integer({ min: 1, max: 9 }).map((micros) => `PT0.00000${micros}S`);
const rarely = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { freq: 2, nil: undefined });

const threshold = fc.oneof(
  fc.integer({ min: -2, max: 2 }),
  fc.constantFrom<Scalar>('up', 'down', true),
);

const parts = fc.record({
  key: fc.constantFrom('temperature', 'engine.rpm', 'state'),
  operator: fc.constantFrom(...OPERATORS),
  threshold,
  for: rarely(duration),
  clearFor: rarely(duration),
  clearBy: rarely(fc.integer({ min: 0, max: 3 })),
  devices: fc.oneof(
    { weight: 6, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.constantFrom('device', 'dev*', '?evic?', 'other', 'dev?') },
  ),
  enabled: fc.oneof({ weight: 5, arbitrary: fc.constant(true) }, fc.boolean()),
});
type Parts = typeof parts extends fc.Arbitrary<infer P> ? P : never;

/** A valid rule of whatever parts. */
function ruleOf(id: string, { clearFor, clearBy, ...given }: Parts): ThresholdRule {
  const rule: ThresholdRule = { id, message: 'm', severity: 'WARNING', ...given };
  const isOrder = rule.operator !== '==' && rule.operator !== '!=';
  if (typeof rule.threshold !== 'number' && isOrder) rule.threshold = 0;
  const clear: Clear = {};
  if (clearFor !== undefined) clear.for = clearFor;
  if (clearBy !== undefined && isOrder) {
    const side = rule.operator.startsWith('>') ? -1 : 1;
    clear.threshold = (rule.threshold as number) + side * clearBy;
  }
  return Object.keys(clear).length > 0 ? { ...rule, clear } : rule;
}

type Given = { [id: string]: Parts };
const given: fc.Arbitrary<Given> = fc.dictionary(fc.constantFrom(...RULE_IDS), parts);
export const rules = given.map((all) => Object.entries(all).map(([id, part]) => ruleOf(id, part)));

const OFF: Disabled = { a: ['another', DEVICE], c: ['another'] };

/** Mostly of a part of a rule: an edit of its key or operator begins anew. */
const edit = fc.record({
  anew: fc.option(given, { freq: 3, nil: null }),
  id: fc.constantFrom(...RULE_IDS),
  names: fc.subarray(['threshold', 'for', 'clearFor', 'clearBy', 'devices', 'enabled'] as const, {
    minLength: 1,
  }),
  parts,
  off: fc.oneof(
    { weight: 4, arbitrary: fc.constant<Disabled>({}) },
    { weight: 1, arbitrary: fc.constant(OFF) },
  ),
});
type Edit = typeof edit extends fc.Arbitrary<infer E> ? E : never;

function edited(all: Given, { anew, id, names, parts: other }: Edit): Given {
  const old = all[id];
  if (anew !== null || old === undefined) return anew ?? all;
  return {
    ...all,
    [id]: { ...old, ...Object.fromEntries(names.map((name) => [name, other[name]])) },
  };
}

export function ruleSetOf(version: number, all: readonly Rule[], disabled: Disabled = {}): RuleSet {
  const content = { shorthands: {}, rules: all, disabled };
  return toRuleSet({ userId: 'user', version, content, model });
}

const number = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: -3, max: 3 }) },
  { weight: 1, arbitrary: fc.constantFrom(Number.NaN, Infinity, -Infinity, -0, 0.5) },
);

const extra: fc.Arbitrary<JsonObject | null> = fc.oneof(
  number.map((rpm) => ({ engine: { rpm } })),
  fc.constantFrom<JsonValue>('up', 'down', '', true, false, 1, 0).map((state) => ({ state })),
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
  deviceId: fc.constant(DEVICE),
  sequenceId: fc.integer({ min: 0, max: 3 }),
  columns: fc.record({ temperature: fc.option(number, { nil: null }) }),
  extra,
});

type Read = Step & { reading: Reading };

/** Readings that mostly move on, under rules that now and then change. */
export const series: fc.Arbitrary<Read[]> = fc
  .tuple(
    given,
    fc.array(fc.tuple(reading, fc.boolean(), fc.option(edit, { freq: 4, nil: null })), {
      maxLength: 40,
    }),
  )
  .map(([first, items]) => {
    let all = first;
    const rulesOf = () => Object.entries(all).map(([id, part]) => ruleOf(id, part));
    let ruleSet = ruleSetOf(1, rulesOf());
    return items.map(([one, moves, change], index) => {
      if (change !== null) {
        all = edited(all, change);
        ruleSet = ruleSetOf(ruleSet.version + 1, rulesOf(), change.off);
      }
      return { reading: moves ? { ...one, time: one.time + index } : one, ruleSet };
    });
  });

/** The same with looks at what an edit has left, before the next reading comes. */
const stepsOf = ([all, looks]: [Read[], boolean[]]): Step[] =>
  all.flatMap((step, index) =>
    looks[index % looks.length] ? [{ ...step, reading: null }, step] : [step],
  );
export const steps = fc
  .tuple(series, fc.array(fc.boolean(), { minLength: 1, maxLength: 8 }))
  .map(stepsOf);
