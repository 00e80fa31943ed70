import { isNoData, type Operator, type Rule } from './rule.ts';
import type { RuleDraft } from './rule-fields.ts';

const MAX_ID_LENGTH = 64;
const WORDS: Record<Operator, string> = {
  '>': 'gt',
  '<': 'lt',
  '>=': 'gte',
  '<=': 'lte',
  '==': 'eq',
  '!=': 'ne',
};

/**
 * Gives each rule its id. One without takes that of the stored rule with the same key, operator and
 * threshold, else with the same key and operator, each stored rule once; else a new one made of key
 * and operator, or `no-data`. So an id, and the alert state that hangs on it, outlives edits and other rules'
 * deletion.
 *
 * @param reserved ids that a new rule must not get
 */
export function assignIds(
  drafts: readonly RuleDraft[],
  stored: readonly Rule[],
  reserved: Iterable<string> = [],
): Rule[] {
  const ids: (string | null)[] = drafts.map((draft) => draft.id);
  const given = new Set(ids);
  const free = stored.filter((rule) => !given.has(rule.id));

  function match(same: (draft: RuleDraft, rule: Rule) => boolean): void {
    for (const [index, draft] of drafts.entries()) {
      if (ids[index] !== null) continue;
      const at = free.findIndex((rule) => same(draft, rule));
      if (at >= 0) ids[index] = free.splice(at, 1)[0]?.id ?? null;
    }
  }
  match((draft, rule) => measuresSame(draft, rule) && limitOf(draft) === limitOf(rule));
  match(measuresSame);

  // A deleted rule's id is not given to another one in the same change: its alerts end as deleted.
  const taken = new Set([...ids, ...stored.map((rule) => rule.id), ...reserved]);
  return drafts.map((draft, index) => {
    const id = ids[index] ?? newId(draft, taken);
    taken.add(id);
    return { ...draft, id };
  });
}

function measuresSame(draft: RuleDraft, rule: Rule): boolean {
  if (isNoData(draft) || isNoData(rule)) return isNoData(draft) && isNoData(rule);
  return draft.key === rule.key && draft.operator === rule.operator;
}

function limitOf(rule: RuleDraft | Rule): unknown {
  return isNoData(rule) ? rule.noData : rule.threshold;
}

/** `temperature-gt`, or the first free of `temperature-gt-2`, `-3`, ... */
function newId(draft: RuleDraft, taken: ReadonlySet<string | null>): string {
  const key = isNoData(draft) ? 'no' : draft.key.replace(/[^A-Za-z0-9_.:-]+/g, '_');
  const word = isNoData(draft) ? 'data' : WORDS[draft.operator];
  for (let n = 1; ; n++) {
    const end = n === 1 ? `-${word}` : `-${word}-${n}`;
    const id = key.slice(0, MAX_ID_LENGTH - end.length) + end;
    if (!taken.has(id)) return id;
  }
}
