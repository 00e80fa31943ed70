import { activeSilence, activeThreshold } from './active-rule.ts';
import type { Model } from './model.ts';
import { type Disabled, type Issue, isNoData, type Rule, type RuleSet } from './rule.ts';
import { type ConfigPatch, parseConfig } from './rule-config.ts';
import { assignIds } from './rule-ids.ts';

/** What a version of a user's rules holds: `user_configs.accepted`. */
export interface RuleContent {
  readonly shorthands: Readonly<Record<string, number>>;
  readonly rules: readonly Rule[];
  /** Absent where nothing is off. */
  readonly disabled?: Disabled;
}

export const NO_CONTENT: RuleContent = { shorthands: {}, rules: [] };

/** Ids that belong to the model's shorthands. */
export function reservedIds(model: Model): string[] {
  return Object.values(model.shorthands).map(({ id }) => id);
}

/** Ids of all rules in it, with those of its shorthands. */
export function ruleIds({ rules, shorthands }: RuleContent, model: Model): string[] {
  const given = Object.keys(shorthands).flatMap((name) => model.shorthands[name]?.id ?? []);
  return [...rules.map(({ id }) => id), ...given];
}

/** The content after a config was applied: what it leaves out stays, null removes a shorthand. */
export function mergeConfig(current: RuleContent, patch: ConfigPatch, model: Model): RuleContent {
  const shorthands: Record<string, number> = {};
  for (const name of Object.keys(model.shorthands)) {
    const given = patch.shorthands[name];
    const value = given === undefined ? current.shorthands[name] : given;
    if (value !== undefined && value !== null) shorthands[name] = value;
  }
  const rules =
    patch.rules === undefined
      ? current.rules
      : assignIds(patch.rules, current.rules, reservedIds(model));
  const ids = new Set([...rules.map(({ id }) => id), ...reservedIds(model)]);
  const off = Object.entries(patch.disabled ?? current.disabled ?? {});
  return withDisabled(
    { shorthands, rules },
    off.filter(([id]) => ids.has(id)),
  );
}

/** The content with nothing off but this; an empty list is nothing. */
export function withDisabled(
  { shorthands, rules }: RuleContent,
  off: Iterable<readonly [string, true | readonly string[]]>,
): RuleContent {
  const entries = [...off].filter(([, where]) => where === true || where.length > 0);
  const content = { shorthands, rules };
  return entries.length > 0 ? { ...content, disabled: Object.fromEntries(entries) } : content;
}

/** Checks content that code put together as if a user had written it. */
export function contentIssues(content: RuleContent, model: Model): Issue[] {
  const parsed = parseConfig(
    { ...content.shorthands, rules: content.rules, disabled: content.disabled },
    model,
  );
  return parsed.ok ? [] : parsed.issues;
}

export function sameContent(a: RuleContent, b: RuleContent): boolean {
  return canonical(a) === canonical(b);
}

/** A user's rules in force, with one rule more for each shorthand. */
export function toRuleSet(from: {
  userId: string;
  version: number;
  content: RuleContent;
  model: Model;
}): RuleSet {
  const { userId, version, content, model } = from;
  const { shorthands, rules, disabled = {} } = content;
  const all = [...rules];
  for (const [name, { id, key, operator }] of Object.entries(model.shorthands)) {
    const threshold = shorthands[name];
    if (threshold === undefined) continue;
    const title = key.charAt(0).toUpperCase() + key.slice(1).replaceAll('_', ' ');
    const side = operator === '>' ? 'above' : 'below';
    const message = `${title} {value} is ${side} {threshold}`;
    const enabled = disabled[id] !== true;
    all.push({ id, key, operator, threshold, message, severity: 'WARNING', enabled });
  }
  const set: Omit<RuleSet, 'thresholds' | 'silences'> = {
    userId,
    version,
    shorthands,
    rules,
    disabled,
    all,
  };
  const thresholds = [];
  const silences = [];
  for (const rule of all) {
    if (!rule.enabled) continue;
    const devices = disabledDevices(set, rule.id);
    if (isNoData(rule)) silences.push(activeSilence(rule, devices));
    else thresholds.push(activeThreshold(rule, devices));
  }
  return { ...set, thresholds, silences };
}

/** The devices on which a rule is off. */
export function disabledDevices(
  { disabled }: Pick<RuleSet, 'disabled'>,
  ruleId: string,
): readonly string[] {
  const where = Object.hasOwn(disabled, ruleId) ? disabled[ruleId] : undefined;
  return where === undefined || where === true ? [] : where;
}

/** Names one version of one content: what a broadcast carries, and by which it is known again. */
export function etag(content: RuleContent, version: number): string {
  const text = `${version} ${canonical(content)}`;
  return new Bun.CryptoHasher('sha256').update(text).digest('hex').slice(0, 32);
}

/**
 * Whether a config is one of our broadcasts coming back: its etag fits its own version and content.
 * An edited copy of a broadcast is none.
 */
export function isEcho(config: ConfigPatch): config is ConfigPatch & { version: number } {
  const { rules, version } = config;
  if (rules === undefined || version === undefined || config.etag === undefined) return false;
  if (!rules.every((rule): rule is Rule => rule.id !== null)) return false;
  const shorthands: Record<string, number> = {};
  for (const [name, value] of Object.entries(config.shorthands)) {
    if (value !== null) shorthands[name] = value;
  }
  const off = Object.entries(config.disabled ?? {});
  const content = withDisabled({ shorthands, rules: rules as Rule[] }, off);
  return etag(content, version) === config.etag;
}

/** The same text for the same content, in whatever order its fields came. */
function canonical({ shorthands, rules, disabled }: RuleContent): string {
  return JSON.stringify([
    sortedEntries(shorthands),
    rules.map(canonicalRule),
    ...(disabled === undefined ? [] : [sortedEntries(disabled)]),
  ]);
}

/** What is off adds nothing, so that rules from before there was such a field keep their etag. */
function canonicalRule(rule: Rule): unknown[] {
  const { id, message, severity, enabled, devices } = rule;
  const what = isNoData(rule) ? [rule.noData] : [rule.key, rule.operator, rule.threshold];
  const { for: hold, clear } = isNoData(rule) ? {} : rule;
  const options = [hold, clear?.threshold, clear?.for, devices];
  const isPlain = options.every((option) => option === undefined);
  return [id, ...what, message, severity, enabled, ...(isPlain ? [] : [options])];
}

function sortedEntries(object: object): [string, unknown][] {
  return Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1));
}
