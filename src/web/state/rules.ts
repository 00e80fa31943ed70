import { sign } from './format.ts';
import { fieldName, model } from './model.ts';
import type { Rule, RuleInput, RuleSet } from './types.ts';

/** What the API takes of a rule, without what is empty: what the form and the JSON show. */
export function inputOf(rule: RuleInput): RuleInput {
  const { ruleId, kind, key, operator, threshold, clear, noData, severity, message, devices } =
    rule;
  const isSilence = kind === 'NO_DATA';
  const cleared = present({ threshold: clear?.threshold, for: clear?.for });
  return present({
    ruleId,
    kind: isSilence ? kind : null,
    ...(isSilence ? { noData } : { key, operator, threshold, for: rule.for }),
    clear: Object.keys(cleared).length > 0 && !isSilence ? cleared : null,
    severity,
    devices,
    enabled: rule.enabled === false ? false : null,
    message: message ?? '',
  }) as unknown as RuleInput;
}

function present(fields: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(fields);
  return Object.fromEntries(
    entries.filter(([name, value]) => name === 'message' || (value != null && value !== '')),
  );
}

/** In one line: `temperature > 80 for PT5M`. */
export function conditionOf(rule: Omit<RuleInput, 'message'>): string {
  if (rule.kind === 'NO_DATA') return `no data for ${rule.noData ?? '?'}`;
  const held = rule.for ? ` for ${rule.for}` : '';
  return `${rule.key ?? '?'} ${sign(rule.operator)} ${String(rule.threshold ?? '?')}${held}`;
}

export interface Shorthand {
  field: string;
  name: string;
  ruleId: string;
  key: string;
  operator: 'GT' | 'LT';
  value: number | null;
}

/** The model's one-number rules as this user has them. */
export function shorthandsOf(ruleSet: RuleSet): Shorthand[] {
  return Object.entries(model.shorthands).map(([name, { id, key, operator }]) => ({
    field: fieldName(name),
    name,
    ruleId: id,
    key,
    operator: operator === '>' ? 'GT' : 'LT',
    value: (ruleSet[fieldName(name)] as number | null | undefined) ?? null,
  }));
}

export interface Threshold {
  value: number;
  label: string;
  severity: RuleInput['severity'];
}

/** The lines that rules draw into the chart of a key, on one device. */
export function thresholdsOf(
  rules: readonly Pick<Rule, 'key' | 'operator' | 'threshold' | 'severity' | 'clear'>[],
  key: string,
): Threshold[] {
  return rules.flatMap((rule) => {
    if (rule.key !== key || typeof rule.threshold !== 'number') return [];
    const label = `${sign(rule.operator)} ${rule.threshold}`;
    const lines: Threshold[] = [{ value: rule.threshold, label, severity: rule.severity }];
    const clear = rule.clear?.threshold;
    if (typeof clear === 'number')
      lines.push({ value: clear, label: `clear ${clear}`, severity: null });
    return lines;
  });
}
