import { fixedMicros, formatDuration, parseDuration } from './duration.ts';
import { finiteNumber, kindOf, not, oneOf, type Report, reportUnknown, text } from './fields.ts';
import { isJsonObject, type JsonObject, numberOf } from './json.ts';
import type { Model } from './model.ts';
import { POINT_PARTS, pointKey } from './point.ts';
import {
  type Clear,
  type NoDataRule,
  OPERATORS,
  type Operator,
  type Scalar,
  SEVERITIES,
  type Severity,
  type ThresholdRule,
} from './rule.ts';
import { MICROS_PER_SECOND, type Micros } from './time.ts';

type Draft<R> = Omit<R, 'id'> & { id: string | null };

/** A rule as a user gave it: valid, but it may not have its id yet. */
export type RuleDraft = Draft<ThresholdRule> | Draft<NoDataRule>;

const MAX_MESSAGE_LENGTH = 1_000;
const MAX_KEY_LENGTH = 200;
const MAX_GLOB_LENGTH = 200;
const DAY = 86_400 * MICROS_PER_SECOND;
const MAX_HOLD = { micros: 31 * DAY, text: '31 days' };
/** Three heartbeats of the log: less would be told from a hiccup of our own by luck. */
const MIN_SILENCE = { micros: 15 * MICROS_PER_SECOND, text: '15 seconds' };
const MAX_SILENCE = { micros: 366 * DAY, text: '366 days' };

const RULE_ID = /^[A-Za-z0-9_.:-]{1,64}$/;
const COMMON = ['message', 'severity', 'enabled', 'devices'];
const NO_DATA_FIELDS = ['id', 'noData', ...COMMON];
const FIELDS = ['id', 'key', 'operator', 'threshold', ...COMMON, 'for', 'clear', 'noData'];

/** Stands for a rule that could not be read; never leaves the parser, as its fault was reported. */
const NO_RULE: RuleDraft = {
  id: null,
  key: '',
  operator: '>',
  threshold: 0,
  message: '',
  severity: 'WARNING',
  enabled: true,
};

/** Reads one rule of a config. */
export function readRule(input: unknown, path: string, model: Model, report: Report): RuleDraft {
  if (!isJsonObject(input)) {
    report(path, `must be a rule such as {"key": "battery", ...}, not ${kindOf(input)}`);
    return NO_RULE;
  }
  const isNoData = input.noData != null;
  reportUnknown(input, isNoData ? NO_DATA_FIELDS : FIELDS, path, report);
  const id = readId(input.id, `${path}.id`, report);
  const what = isNoData
    ? { noData: readSilence(input.noData, `${path}.noData`, report) }
    : readComparison(input, path, model, report);
  return {
    id,
    ...what,
    message: text(input.message, `${path}.message`, MAX_MESSAGE_LENGTH, report),
    severity: readSeverity(input.severity, `${path}.severity`, report),
    enabled: readEnabled(input.enabled, `${path}.enabled`, report),
    ...given('devices', readDevices(input.devices, `${path}.devices`, report)),
  };
}

function readSilence(value: unknown, path: string, report: Report): string {
  return readDuration(value, path, { min: MIN_SILENCE, max: MAX_SILENCE }, report) ?? '';
}

function readComparison(input: JsonObject, path: string, model: Model, report: Report) {
  const key = readKey(input.key, `${path}.key`, model, report);
  const operator = oneOf(input.operator, OPERATORS, `${path}.operator`, report) ?? '>';
  const threshold = readThreshold(input.threshold, { key, operator, path, model, report });
  return {
    key,
    operator,
    threshold,
    ...given('for', readDuration(input.for, `${path}.for`, { max: MAX_HOLD }, report)),
    ...given('clear', readClear(input.clear, { operator, threshold }, `${path}.clear`, report)),
  };
}

/** What is left out of a rule is no property of it, so that its JSON is as short as it was given. */
function given<N extends string, T>(name: N, value: T | undefined): { [K in N]?: T } {
  return value === undefined ? {} : ({ [name]: value } as { [K in N]?: T });
}

interface Limit {
  micros: Micros;
  text: string;
}

/** In ISO 8601; undefined where there is none, or no time at all. */
function readDuration(
  value: unknown,
  path: string,
  { min, max }: { min?: Limit; max: Limit },
  report: Report,
): string | undefined {
  if (value === undefined || value === null) return undefined;
  const duration = typeof value === 'string' ? parseDuration(value) : null;
  const micros = duration === null ? null : fixedMicros(duration);
  if (duration === null || micros === null) {
    report(path, `must be a duration such as PT5M, 90s or P1D, without months, ${not(value)}`);
    return undefined;
  }
  if (micros > max.micros) report(path, `is longer than ${max.text}`);
  if (min !== undefined && micros < min.micros) report(path, `is shorter than ${min.text}`);
  return micros === 0 ? undefined : formatDuration(duration);
}

function readClear(
  input: unknown,
  rule: { operator: Operator; threshold: Scalar },
  path: string,
  report: Report,
): Clear | undefined {
  if (input === undefined || input === null) return undefined;
  if (!isJsonObject(input)) {
    report(path, `must be an object such as {"threshold": 75, "for": "PT5M"}, ${not(input)}`);
    return undefined;
  }
  reportUnknown(input, ['threshold', 'for'], path, report);
  const clear = {
    ...given('threshold', readClearThreshold(input, rule, `${path}.threshold`, report)),
    ...given('for', readDuration(input.for, `${path}.for`, { max: MAX_HOLD }, report)),
  };
  return Object.keys(clear).length > 0 ? clear : undefined;
}

/** On the side where the rule doesn't hold: elsewhere an alert would end in the moment it fires. */
function readClearThreshold(
  input: JsonObject,
  { operator, threshold }: { operator: Operator; threshold: Scalar },
  path: string,
  report: Report,
): number | undefined {
  if (input.threshold === undefined || input.threshold === null) return undefined;
  if (operator === '==' || operator === '!=') {
    report(path, `is for > < >= <=; with ${operator} give "for" alone`);
    return undefined;
  }
  const value = finiteNumber(input.threshold, path, report);
  const isAbove = operator === '>' || operator === '>=';
  if (typeof threshold === 'number' && (isAbove ? value > threshold : value < threshold)) {
    report(path, `must be ${isAbove ? 'at most' : 'at least'} the threshold, ${threshold}`);
  }
  return value;
}

function readDevices(value: unknown, path: string, report: Report): string | undefined {
  if (value === undefined || value === null) return undefined;
  const glob = text(value, path, MAX_GLOB_LENGTH, report);
  // Every device, as without it.
  return glob === '*' ? undefined : glob;
}

export function isRuleId(text: string): boolean {
  return RULE_ID.test(text) && !(text in Object.prototype);
}

function readKey(value: unknown, path: string, model: Model, report: Report): string {
  const key = text(value, path, MAX_KEY_LENGTH, report);
  if (key !== '' && key.split('.').includes('')) {
    report(path, `"${key}" has an empty name between its dots; write a path such as engine.rpm`);
  }
  if (model.key.includes(key)) {
    report(path, `"${key}" identifies a reading; a rule needs a value that was measured`);
  }
  const [column = ''] = key.split('.');
  const isPoint = Object.hasOwn(model.columns, column) && model.columns[column]?.type === 'point';
  if (isPoint && pointKey(model.columns, key) === null) {
    const parts = POINT_PARTS.map((part) => `${column}.${part}`).join(' or ');
    report(path, `"${column}" is a point; write ${parts}`);
  }
  return key;
}

function readThreshold(
  value: unknown,
  rule: { key: string; operator: Operator; path: string; model: Model; report: Report },
): Scalar {
  const path = `${rule.path}.threshold`;
  const isNumber = numberOf(value) !== null;
  if (!isNumber && typeof value !== 'string' && typeof value !== 'boolean') {
    rule.report(path, `must be a number, or with == and != text or true/false, ${not(value)}`);
    return 0;
  }
  const wanted = kindAt(rule.model, rule.key);
  if (wanted !== null) {
    const given = isNumber ? 'number' : typeof value === 'string' ? 'text' : 'boolean';
    if (given !== wanted) {
      rule.report(path, `must be a ${wanted}, as "${rule.key}" is; this is ${kindOf(value)}`);
    } else reportOther(value, rule);
  }
  if (isNumber) return finiteNumber(value, path, rule.report) ?? 0;
  if (rule.operator !== '==' && rule.operator !== '!=') {
    rule.report(path, `must be a number for ${rule.operator}; ${kindOf(value)} takes == or !=`);
  }
  return typeof value === 'string'
    ? text(value, path, MAX_MESSAGE_LENGTH, rule.report, true)
    : (value as boolean);
}

/** What the model says that the key holds; null where it says nothing. */
function kindAt({ columns }: Model, key: string): 'number' | 'text' | 'boolean' | null {
  const column = Object.hasOwn(columns, key) ? columns[key] : undefined;
  if (column === undefined) return pointKey(columns, key) === null ? null : 'number';
  if (column.type === 'point') return null;
  return column.type === 'text' || column.type === 'boolean' ? column.type : 'number';
}

/** A text that the column can never be: such a rule would hold always, or never. */
function reportOther(
  value: unknown,
  { key, path, model, report }: { key: string; path: string; model: Model; report: Report },
): void {
  const column = model.columns[key];
  if (column?.type !== 'text' || column.values === undefined) return;
  if (column.values.includes(value as string)) return;
  report(
    `${path}.threshold`,
    `"${key}" is never ${kindOf(value)}; it is one of ${column.values.join(', ')}`,
  );
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
