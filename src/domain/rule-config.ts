import { finiteNumber, kindOf, not, type Report, reportUnknown, text } from './fields.ts';
import { isJsonObject, printable } from './json.ts';
import type { Model } from './model.ts';
import type { Disabled, Issue } from './rule.ts';
import { isRuleId, type RuleDraft, readRule } from './rule-fields.ts';

/** What a config says. What it leaves out stays as it was. */
export interface ConfigPatch {
  /** The model's shorthands by name; null takes one away. */
  shorthands: Readonly<Record<string, number | null>>;
  /** All of the user's rules, in order. */
  rules?: readonly RuleDraft[];
  /** All that is off, as it is to be. */
  disabled?: Disabled;
  /** The version that the writer started from. */
  version?: number;
  etag?: string;
}

export type ParsedConfig = { ok: true; config: ConfigPatch } | { ok: false; issues: Issue[] };

export const MAX_RULES = 200;
/** Devices on which one rule may be off. */
const MAX_DISABLED_DEVICES = 1_000;
const MAX_DEVICE_ID_BYTES = 256;
/** Of a user's shorthands and rules as JSON in UTF-8: a broker must take the broadcast of them. */
export const MAX_CONFIG_BYTES = 65_536;
/** Faults reported at once; the rest would be more of the same. */
const MAX_ISSUES = 50;

/** In our own broadcasts, for the reader only. */
const INFORMATION = ['updated_at', 'updated_by'];

/**
 * Checks a config in its JSON form, as MQTT and SQL carry it:
 * `{temperature_max?, rules?: [{key, operator, threshold, message, ...}], disabled?, version?, etag?}`.
 * Takes any value and never throws; every fault comes with its path.
 */
export function parseConfig(input: unknown, model: Model): ParsedConfig {
  const issues: Issue[] = [];
  const report: Report = (path, message) => {
    if (issues.length < MAX_ISSUES)
      issues.push({ path: printable(path), message: printable(message) });
  };
  const config = readConfig(input, model, report);
  if (issues.length === 0) reportSize(config, report);
  return issues.length === 0 ? { ok: true, config } : { ok: false, issues };
}

function reportSize({ shorthands, rules = [], disabled }: ConfigPatch, report: Report): void {
  const bytes = Buffer.byteLength(JSON.stringify({ ...shorthands, rules, disabled }));
  if (bytes > MAX_CONFIG_BYTES) {
    report('rules', `the rules take ${bytes} bytes as JSON; at most ${MAX_CONFIG_BYTES}`);
  }
}

function readConfig(input: unknown, model: Model, report: Report): ConfigPatch {
  const shorthands: Record<string, number | null> = {};
  const config: ConfigPatch = { shorthands };
  if (!isJsonObject(input)) {
    report('', `a config is a JSON object such as {"rules": []}, this is ${kindOf(input)}`);
    return config;
  }
  const names = Object.keys(model.shorthands);
  reportUnknown(
    input,
    [...names, 'rules', 'disabled', 'version', 'etag', ...INFORMATION],
    '',
    report,
  );
  for (const name of names) {
    const value = input[name];
    if (value === undefined) continue;
    shorthands[name] = value === null ? null : finiteNumber(value, name, report, ' or null');
  }
  if (input.rules !== undefined) config.rules = readRules(input.rules, model, report);
  if (input.disabled !== undefined) config.disabled = readDisabled(input.disabled, model, report);
  if (input.version !== undefined) {
    if (Number.isSafeInteger(input.version) && (input.version as number) >= 0) {
      config.version = input.version as number;
    } else report('version', 'must be the whole number of the version you changed, or left out');
  }
  if (input.etag !== undefined) {
    if (typeof input.etag === 'string') config.etag = input.etag;
    else report('etag', 'must be text, or left out');
  }
  return config;
}

function readRules(input: unknown, model: Model, report: Report): RuleDraft[] {
  if (!Array.isArray(input)) {
    report('rules', `must be a list of rules, not ${kindOf(input)}`);
    return [];
  }
  if (input.length > MAX_RULES) {
    report('rules', `holds ${input.length} rules; at most ${MAX_RULES} are allowed`);
    return [];
  }
  const reserved = new Map(Object.entries(model.shorthands).map(([name, { id }]) => [id, name]));
  const seenAt = new Map<string, number>();
  return input.map((value: unknown, index) => {
    const path = `rules.${index}`;
    const rule = readRule(value, path, model, report);
    if (rule.id === null) return rule;
    const shorthand = reserved.get(rule.id);
    if (shorthand !== undefined) {
      report(`${path}.id`, `"${rule.id}" is the rule of ${shorthand}; choose another id`);
    }
    const first = seenAt.get(rule.id);
    if (first !== undefined) report(`${path}.id`, `"${rule.id}" is the id of rules.${first} too`);
    else seenAt.set(rule.id, index);
    return rule;
  });
}

/** `{"temperature-max": true, "battery-lt": ["pump_1"]}`: by rule id, all or some devices. */
function readDisabled(input: unknown, model: Model, report: Report): Disabled {
  const disabled: Record<string, true | string[]> = {};
  if (!isJsonObject(input)) {
    report('disabled', `must be an object such as {"battery-lt": ["pump_1"]}, ${not(input)}`);
    return disabled;
  }
  const shorthands = Object.values(model.shorthands).map(({ id }) => id);
  for (const [ruleId, value] of Object.entries(input)) {
    const path = `disabled.${ruleId.slice(0, 64)}`;
    if (!isRuleId(ruleId)) report(path, 'is not the id of a rule');
    else if (value === true && !shorthands.includes(ruleId)) {
      report(path, 'true is for the rules of shorthands: set "enabled": false on the rule itself');
    } else if (value === true) disabled[ruleId] = true;
    else if (value !== false) {
      const devices = readDevices(value, path, report);
      if (devices.length > 0) disabled[ruleId] = devices;
    }
  }
  return disabled;
}

function readDevices(value: unknown, path: string, report: Report): string[] {
  if (!Array.isArray(value) || value.length > MAX_DISABLED_DEVICES) {
    report(path, `must be a list of at most ${MAX_DISABLED_DEVICES} device ids, ${not(value)}`);
    return [];
  }
  const ids = value.map((id: unknown, index) =>
    text(id, `${path}.${index}`, MAX_DEVICE_ID_BYTES, report),
  );
  return [...new Set(ids)].sort();
}
