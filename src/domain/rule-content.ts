import type { Model } from './model.ts';
import type { Issue, Rule, RuleSet } from './rule.ts';
import { type ConfigPatch, parseConfig } from './rule-config.ts';
import { assignIds } from './rule-ids.ts';

/** What a version of a user's rules holds: `user_configs.accepted`. */
export interface RuleContent {
  readonly shorthands: Readonly<Record<string, number>>;
  readonly rules: readonly Rule[];
}

export const NO_CONTENT: RuleContent = { shorthands: {}, rules: [] };

/** Ids that belong to the model's shorthands. */
export function reservedIds(model: Model): string[] {
  return Object.values(model.shorthands).map(({ id }) => id);
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
  return { shorthands, rules };
}

/** Checks content that code put together as if a user had written it. */
export function contentIssues(content: RuleContent, model: Model): Issue[] {
  const parsed = parseConfig({ ...content.shorthands, rules: content.rules }, model);
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
  const effective = content.rules.filter((rule) => rule.enabled);
  for (const [name, { id, key, operator }] of Object.entries(model.shorthands)) {
    const threshold = content.shorthands[name];
    if (threshold === undefined) continue;
    const title = key.charAt(0).toUpperCase() + key.slice(1).replaceAll('_', ' ');
    const side = operator === '>' ? 'above' : 'below';
    const message = `${title} {value} is ${side} {threshold}`;
    effective.push({ id, key, operator, threshold, message, severity: 'WARNING', enabled: true });
  }
  return { userId, version, shorthands: content.shorthands, rules: content.rules, effective };
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
  return etag({ shorthands, rules: rules as Rule[] }, version) === config.etag;
}

/** The same text for the same content, in whatever order its fields came. */
function canonical({ shorthands, rules }: RuleContent): string {
  return JSON.stringify([
    Object.entries(shorthands).sort(([a], [b]) => (a < b ? -1 : 1)),
    rules.map((rule) => [
      rule.id,
      rule.key,
      rule.operator,
      rule.threshold,
      rule.message,
      rule.severity,
      rule.enabled,
    ]),
  ]);
}
