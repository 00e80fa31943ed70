import { finiteNumber, kindOf, not, oneOf, type Report, text } from './fields.ts';
import { isJsonObject, numberOf } from './json.ts';
import { KEY_COLUMNS, type Model } from './model.ts';
import {
  type Issue,
  OPERATORS,
  type Operator,
  type Rule,
  type Scalar,
  SEVERITIES,
  type Severity,
} from './rule.ts';

/** A rule as a user gave it: valid, but it may not have its id yet. */
export type RuleDraft = Omit<Rule, 'id'> & { id: string | null };

/** What a config says. What it leaves out stays as it was. */
export interface ConfigPatch {
  /** The model's shorthands by name; null takes one away. */
  shorthands: Readonly<Record<string, number | null>>;
  /** All of the user's rules, in order. */
  rules?: readonly RuleDraft[];
  /** The version that the writer started from. */
  version?: number;
  etag?: string;
}

export type ParsedConfig = { ok: true; config: ConfigPatch } | { ok: false; issues: Issue[] };

export const MAX_RULES = 200;
export const MAX_MESSAGE_LENGTH = 1_000;
export const MAX_KEY_LENGTH = 200;
/** Of a user's shorthands and rules as JSON in UTF-8: a broker must take the broadcast of them. */
export const MAX_CONFIG_BYTES = 65_536;
/** Faults reported at once; the rest would be more of the same. */
const MAX_ISSUES = 50;

const RULE_ID = /^[A-Za-z0-9_.:-]{1,64}$/;
const RULE_FIELDS = ['id', 'key', 'operator', 'threshold', 'message', 'severity', 'enabled'];
const LATER_FIELDS = ['for', 'clear', 'devices', 'noData'];
/** In our own broadcasts, for the reader only. */
const INFORMATION = ['updated_at', 'updated_by'];

/**
 * Checks a config in its JSON form, as MQTT and SQL carry it:
 * `{temperature_max?, rules?: [{key, operator, threshold, message, ...}], version?, etag?}`.
 * Takes any value and never throws; every fault comes with its path.
 */
export function parseConfig(input: unknown, model: Model): ParsedConfig {
  const issues: Issue[] = [];
  const report: Report = (path, message) => {
    if (issues.length < MAX_ISSUES)
      issues.push({ path: storable(path), message: storable(message) });
  };
  const config = readConfig(input, model, report);
  if (issues.length === 0) reportSize(config, report);
  return issues.length === 0 ? { ok: true, config } : { ok: false, issues };
}

function reportSize({ shorthands, rules = [] }: ConfigPatch, report: Report): void {
  const bytes = Buffer.byteLength(JSON.stringify({ ...shorthands, rules }));
  if (bytes > MAX_CONFIG_BYTES) {
    report('rules', `the rules take ${bytes} bytes as JSON; at most ${MAX_CONFIG_BYTES}`);
  }
}

/** Issues quote what was written, and are stored: without what Postgres can't hold. */
function storable(quoted: string): string {
  return quoted.replaceAll('\0', '\uFFFD').toWellFormed();
}

function readConfig(input: unknown, model: Model, report: Report): ConfigPatch {
  const shorthands: Record<string, number | null> = {};
  const config: ConfigPatch = { shorthands };
  if (!isJsonObject(input)) {
    report('', `a config is a JSON object such as {"rules": []}, this is ${kindOf(input)}`);
    return config;
  }
  const names = Object.keys(model.shorthands);
  reportUnknown(input, [...names, 'rules', 'version', 'etag', ...INFORMATION], '', report);
  for (const name of names) {
    const value = input[name];
    if (value === undefined) continue;
    shorthands[name] = value === null ? null : finiteNumber(value, name, report, ' or null');
  }
  if (input.rules !== undefined) config.rules = readRules(input.rules, model, report);
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

function readRule(input: unknown, path: string, model: Model, report: Report): RuleDraft {
  if (!isJsonObject(input)) {
    report(path, `must be a rule such as {"key": "battery", ...}, not ${kindOf(input)}`);
    return NO_RULE;
  }
  reportUnknown(input, RULE_FIELDS, path, report);
  const key = readKey(input.key, `${path}.key`, report);
  const operator = oneOf(input.operator, OPERATORS, `${path}.operator`, report) ?? '>';
  return {
    id: readId(input.id, `${path}.id`, report),
    key,
    operator,
    threshold: readThreshold(input.threshold, { key, operator, path, model, report }),
    message: text(input.message, `${path}.message`, MAX_MESSAGE_LENGTH, report),
    severity: readSeverity(input.severity, `${path}.severity`, report),
    enabled: readEnabled(input.enabled, `${path}.enabled`, report),
  };
}

/** Stands for a rule that could not be read; never leaves this file, as its fault was reported. */
const NO_RULE: RuleDraft = {
  id: null,
  key: '',
  operator: '>',
  threshold: 0,
  message: '',
  severity: 'WARNING',
  enabled: true,
};

function readKey(value: unknown, path: string, report: Report): string {
  const key = text(value, path, MAX_KEY_LENGTH, report);
  if (key !== '' && key.split('.').includes('')) {
    report(path, `"${key}" has an empty name between its dots; write a path such as engine.rpm`);
  }
  if ((KEY_COLUMNS as readonly string[]).includes(key)) {
    report(path, `"${key}" identifies a reading; a rule needs a value that was measured`);
  }
  return key;
}

function readThreshold(
  value: unknown,
  rule: { key: string; operator: Operator; path: string; model: Model; report: Report },
): Scalar {
  const path = `${rule.path}.threshold`;
  const column = Object.hasOwn(rule.model.columns, rule.key)
    ? rule.model.columns[rule.key]
    : undefined;
  const isNumber = numberOf(value) !== null;
  if (!isNumber && typeof value !== 'string' && typeof value !== 'boolean') {
    rule.report(path, `must be a number, or with == and != text or true/false, ${not(value)}`);
    return 0;
  }
  if (column !== undefined) {
    const wanted = column.type === 'text' || column.type === 'boolean' ? column.type : 'number';
    const given = isNumber ? 'number' : typeof value === 'string' ? 'text' : 'boolean';
    if (given !== wanted) {
      rule.report(path, `must be a ${wanted}, as "${rule.key}" is; this is ${kindOf(value)}`);
    }
  }
  if (isNumber) return finiteNumber(value, path, rule.report) ?? 0;
  if (rule.operator !== '==' && rule.operator !== '!=') {
    rule.report(path, `must be a number for ${rule.operator}; ${kindOf(value)} takes == or !=`);
  }
  return typeof value === 'string'
    ? text(value, path, MAX_MESSAGE_LENGTH, rule.report, true)
    : (value as boolean);
}

function readId(value: unknown, path: string, report: Report): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value !== 'string' || !RULE_ID.test(value)) {
    report(path, 'must be 1 to 64 of the characters A-Z a-z 0-9 _ . : -, or left out');
    return null;
  }
  // Ids are the property names of a device's rule states.
  if (value in Object.prototype) report(path, `"${value}" is reserved; choose another id`);
  return value;
}

function readSeverity(value: unknown, path: string, report: Report): Severity {
  if (value === undefined || value === null) return 'WARNING';
  return oneOf(value, SEVERITIES, path, report) ?? 'WARNING';
}

function readEnabled(value: unknown, path: string, report: Report): boolean {
  if (value === undefined || value === null) return true;
  if (typeof value !== 'boolean') report(path, `must be true or false, ${not(value)}`);
  return value !== false;
}

function reportUnknown(
  input: Record<string, unknown>,
  known: string[],
  path: string,
  report: Report,
): void {
  for (const name of Object.keys(input)) {
    if (known.includes(name)) continue;
    const shown = name.length > 64 ? `${name.slice(0, 64)}…` : name;
    const at = path === '' ? shown : `${path}.${shown}`;
    if (path !== '' && LATER_FIELDS.includes(name)) report(at, 'is not supported yet');
    else report(at, `is not a field here; known are ${known.join(', ')}`);
  }
}
