import { type Duration, formatDuration } from '../domain/duration.ts';
import type { JsonObject } from '../domain/json.ts';
import type { Model } from '../domain/model.ts';
import { fieldName } from '../domain/model-names.ts';
import type { Issue, Operator, Severity } from '../domain/rule.ts';
import { type ConfigPatch, parseConfig } from '../domain/rule-config.ts';
import type { Builder } from './builder.ts';
import { badUserInput } from './errors.ts';
import type { RuleKind } from './rule.ts';

export interface RuleInput {
  ruleId?: string | null;
  kind?: RuleKind | null;
  key?: string | null;
  operator?: Operator | null;
  threshold?: NonNullable<unknown> | null;
  message: string;
  severity?: Severity | null;
  for?: Duration | null;
  clear?: ClearInput | null;
  noData?: Duration | null;
  devices?: string | null;
  enabled?: boolean | null;
}

export interface ClearInput {
  threshold?: NonNullable<unknown> | null;
  for?: Duration | null;
}

export function defineRuleInput(builder: Builder): void {
  builder.inputType('ClearInput', {
    description: 'What it takes for an alert to end; at least one of the two.',
    fields: (t) => ({
      threshold: t.field({
        type: 'JSON',
        description: 'The alert goes on until the value has passed this one; a number.',
      }),
      for: t.field({ type: 'Duration', description: 'How long it must be over, in event time.' }),
    }),
  });
  builder.inputType('RuleInput', {
    description: 'A rule, whole: what is left out is off, or has its default.',
    fields: (t) => ({
      ruleId: t.id({ description: 'Left out: of the rule with the same key and operator.' }),
      kind: t.field({
        type: 'RuleKind',
        defaultValue: 'THRESHOLD',
        description: 'What it looks at.',
      }),
      key: t.string({ description: 'A declared column, or a dotted path: `engine.rpm`.' }),
      operator: t.field({
        type: 'Operator',
        description: 'How the value is compared with the threshold.',
      }),
      threshold: t.field({ type: 'JSON', description: 'A number; text or a boolean for EQ, NE.' }),
      message: t.string({
        required: true,
        description: 'May hold {value} {threshold} {key} {device_id}.',
      }),
      severity: t.field({
        type: 'Severity',
        defaultValue: 'WARNING',
        description: 'Of its alerts.',
      }),
      for: t.field({ type: 'Duration', description: 'How long it must hold before it fires.' }),
      clear: t.field({
        type: 'ClearInput',
        description: 'Left out: an alert ends with the first reading for which it does not hold.',
      }),
      noData: t.field({
        type: 'Duration',
        description: 'For kind NO_DATA, which takes no key, operator or threshold.',
      }),
      devices: t.string({ description: 'A glob of device ids, with * and ?.' }),
      enabled: t.boolean({
        defaultValue: true,
        description: 'False: it is kept, and not evaluated.',
      }),
    }),
  });
}

export interface ConfigInput {
  /** The model's shorthands by their GraphQL names; null takes one away. */
  shorthands?: Record<string, number | null | undefined>;
  rules?: readonly RuleInput[] | null;
}

/**
 * Checks rules by the one set of rules for all ways in: a config in its JSON form.
 *
 * @param rulesPath where the rules stand among the arguments: `rules`, or `rule` for a single one
 * @throws BAD_USER_INPUT whose paths are those of the arguments
 */
export function configOf(
  { shorthands = {}, rules }: ConfigInput,
  model: Model,
  rulesPath: 'rules' | 'rule' = 'rules',
): ConfigPatch {
  const config: JsonObject = {};
  for (const name of Object.keys(model.shorthands)) {
    const value = shorthands[fieldName(name)];
    if (value !== undefined) config[name] = value;
  }
  if (rules != null) config.rules = rules.map(jsonRule);
  const parsed = parseConfig(config, model);
  if (parsed.ok) return parsed.config;
  throw badUserInput(parsed.issues.map((issue) => argumentIssue(issue, model, rulesPath)));
}

function jsonRule(input: RuleInput): JsonObject {
  const { ruleId, kind, clear, ...rest } = input;
  const json = withText({ id: ruleId, ...rest });
  if (clear != null) json.clear = withText({ ...clear });
  // Its absence is to be told as that of a noData, not of a key.
  if (kind === 'NO_DATA') json.noData ??= '';
  return json;
}

/** What is given, with durations as text. */
function withText(input: Record<string, unknown>): JsonObject {
  const entries = Object.entries(input).filter(([, value]) => value != null);
  for (const entry of entries) {
    const [name, value] = entry;
    if (name === 'for' || name === 'noData') entry[1] = formatDuration(value as Duration);
  }
  return Object.fromEntries(entries) as JsonObject;
}

/** The fault of a config, at the argument that it came by. */
export function argumentIssue(issue: Issue, model: Model, rulesPath: 'rules' | 'rule'): Issue {
  const { path, message } = issue;
  if (Object.hasOwn(model.shorthands, path)) return { path: fieldName(path), message };
  // A device on which a rule was turned off by name.
  if (path.startsWith('disabled.')) return { path: 'deviceId', message };
  const renamed = path.replace(/^(rules\.\d+)\.id$/, '$1.ruleId');
  const at = rulesPath === 'rules' ? renamed : renamed.replace(/^rules\.\d+/, 'rule');
  return { path: at, message };
}
