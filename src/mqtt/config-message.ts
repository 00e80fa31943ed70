import type { Model } from '../domain/model.ts';
import type { Issue, RuleSet } from '../domain/rule.ts';
import { type ConfigPatch, parseConfig } from '../domain/rule-config.ts';
import { etag, isEcho, withDisabled } from '../domain/rule-content.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import { readJson } from './json-payload.ts';

/** What a message on users/{user}/config is. */
export type ConfigMessage =
  /** No payload: somebody cleared the retained message. */
  | { kind: 'cleared' }
  /** One of our own broadcasts. */
  | { kind: 'echo'; version: number }
  | { kind: 'config'; config: ConfigPatch }
  | { kind: 'invalid'; issues: Issue[] };

export function readConfigMessage(payload: Uint8Array, model: Model): ConfigMessage {
  if (payload.length === 0) return { kind: 'cleared' };
  const json = readJson(payload);
  if (!json.ok) return { kind: 'invalid', issues: json.issues };
  const parsed = parseConfig(json.value, model);
  if (!parsed.ok) return { kind: 'invalid', issues: parsed.issues };
  const { config } = parsed;
  return isEcho(config) ? { kind: 'echo', version: config.version } : { kind: 'config', config };
}

/** The broadcast of the rules in force: a config message that `readConfigMessage` knows again. */
export function configMessage(
  config: { ruleSet: RuleSet; updatedAt: Micros | null; updatedBy: string | null },
  model: Model,
): string {
  const { version, shorthands, rules, disabled } = config.ruleSet;
  const content = withDisabled({ shorthands, rules }, Object.entries(disabled));
  const names = Object.keys(model.shorthands);
  return JSON.stringify({
    ...Object.fromEntries(names.map((name) => [name, shorthands[name] ?? null])),
    rules,
    ...(content.disabled && { disabled: content.disabled }),
    version,
    etag: etag(content, version),
    ...(config.updatedAt === null ? {} : { updated_at: formatMicros(config.updatedAt) }),
    ...(config.updatedBy === null ? {} : { updated_by: config.updatedBy }),
  });
}

/**
 * What goes to users/{user}/config/rejected. A refused SQL statement has the version it made, a
 * refused message has none.
 */
export function rejectedMessage(refused: {
  issues: readonly Issue[];
  at: Micros;
  version?: number;
}): string {
  const { issues, at, version } = refused;
  return JSON.stringify({ version, issues, received_at: formatMicros(at) });
}
