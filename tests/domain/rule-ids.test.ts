import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { OPERATORS, type Operator, type Rule } from '../../src/domain/rule.ts';
import type { RuleDraft } from '../../src/domain/rule-fields.ts';
import { assignIds } from '../../src/domain/rule-ids.ts';

function draft(key: string, operator: Operator, threshold: number, id?: string): RuleDraft {
  return {
    id: id ?? null,
    key,
    operator,
    threshold,
    message: 'm',
    severity: 'WARNING',
    enabled: true,
  };
}
const ids = (rules: readonly Rule[]) => rules.map((rule) => rule.id);

test('an id is made of key and operator', () => {
  const drafts = [draft('engine.rpm', '>', 1), draft('a b', '!=', 1), draft('engine.rpm', '>', 2)];
  expect(ids(assignIds(drafts, []))).toEqual(['engine.rpm-gt', 'a_b-ne', 'engine.rpm-gt-2']);
});

test('a rule keeps its id when others go, move, or its threshold changes', () => {
  const stored = assignIds([draft('t', '>', 80), draft('t', '>', 90), draft('t', '<', 0)], []);
  expect(ids(assignIds([draft('t', '>', 90), draft('t', '<', 5)], stored))).toEqual([
    't-gt-2',
    't-lt',
  ]);
});

test('the exact rule comes before one that merely measures the same', () => {
  const stored = assignIds([draft('t', '>', 80), draft('t', '>', 90)], []);
  expect(ids(assignIds([draft('t', '>', 85), draft('t', '>', 80)], stored))).toEqual([
    't-gt-2',
    't-gt',
  ]);
});

test('a new rule gets neither a deleted rule s id nor a reserved one', () => {
  const stored = assignIds([draft('a b', '>', 1)], []);
  expect(ids(assignIds([draft('a_b', '>', 1)], stored))).toEqual(['a_b-gt-2']);
  expect(ids(assignIds([draft('t', '>', 1)], [], ['t-gt']))).toEqual(['t-gt-2']);
});

test('a rule on missing data keeps its id by its duration, else as one of its kind', () => {
  const silent = (noData: string, id: string | null = null): RuleDraft => ({
    ...{ id, noData, message: 'm', severity: 'WARNING', enabled: true },
  });
  const stored = assignIds([silent('PT1M'), silent('PT1H'), draft('t', '>', 1)], []);
  expect(ids(stored)).toEqual(['no-data', 'no-data-2', 't-gt']);
  expect(ids(assignIds([silent('PT1H'), silent('PT5M')], stored))).toEqual([
    'no-data-2',
    'no-data',
  ]);
  expect(ids(assignIds([draft('t', '>', 2), silent('PT1H')], stored))).toEqual([
    't-gt',
    'no-data-2',
  ]);
  expect(ids(assignIds([silent('PT1M', 'mine'), silent('PT2M')], stored))).toEqual([
    'mine',
    'no-data',
  ]);
});

const rule = fc.record({
  key: fc.constantFrom('t', 'a b', 'a_b', 'x'.repeat(80)),
  operator: fc.constantFrom(...OPERATORS),
  threshold: fc.integer({ min: 0, max: 3 }),
});
const distinct = fc.uniqueArray(rule, {
  maxLength: 30,
  selector: (r) => JSON.stringify([r.key, r.operator, r.threshold]),
});
const drafts = (rules: { key: string; operator: Operator; threshold: number }[]) =>
  rules.map((r) => draft(r.key, r.operator, r.threshold));

test('ids are unique and valid, whatever was stored', () => {
  fc.assert(
    fc.property(fc.array(rule), fc.array(rule), (before, after) => {
      const assigned = ids(assignIds(drafts(after), assignIds(drafts(before), [])));
      expect(new Set(assigned).size).toBe(after.length);
      for (const id of assigned) expect(id).toMatch(/^[A-Za-z0-9_.:-]{1,64}$/);
    }),
  );
});

test('writing a part of distinct rules again, in any order, gives each its id again', () => {
  const changed = distinct.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all)));
  fc.assert(
    fc.property(changed, ([all, some]) => {
      const stored = assignIds(drafts(all), []);
      const expected = some.map((r) => stored[all.indexOf(r)]?.id as string);
      expect(ids(assignIds(drafts(some), stored))).toEqual(expected);
    }),
  );
});
