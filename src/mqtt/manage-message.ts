import { snoozeFault } from '../domain/alert-operation.ts';
import type { Duration } from '../domain/duration.ts';
import { finiteNumber, kindOf, oneOf, type Report, reportUnknown, text } from '../domain/fields.ts';
import { isJsonObject, type JsonObject, type JsonValue, printable } from '../domain/json.ts';
import type { Issue } from '../domain/rule.ts';
import type { RuleSwitch } from '../domain/rule-switch.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import { readJson } from './json-payload.ts';

/** What is to be done; SWITCH for DISABLE and ENABLE. */
export type ManageOperation =
  | { action: 'ACKNOWLEDGE' | 'UNSNOOZE'; ruleId: string; deviceId: string }
  | { action: 'SNOOZE'; ruleId: string; deviceId: string; duration: Duration }
  | ({ action: 'SWITCH' } & RuleSwitch);

/** What a refused message was about, as far as it can be said: `{device_id, rule_id, action}`. */
export type ManageSubject = Record<string, string>;

export type ManageMessage =
  | { kind: 'empty' }
  | { kind: 'operation'; operation: ManageOperation; subject: ManageSubject }
  | { kind: 'invalid'; issues: Issue[]; subject: ManageSubject };

const ACTIONS = ['ACKNOWLEDGE', 'SNOOZE', 'UNSNOOZE', 'DISABLE', 'ENABLE'] as const;
const NAMES = ['device_id', 'rule_id', 'action'] as const;
const MAX_NAME_LENGTH = 256;
/** Faults told at once: a broker must take the message that tells them. */
const MAX_ISSUES = 50;
const MICROS_PER_MINUTE = 60_000_000;

/** Reads a message of users/{user}/alerts/manage. Takes any payload and never throws. */
export function readManageMessage(payload: Uint8Array): ManageMessage {
  if (payload.length === 0) return { kind: 'empty' };
  const json = readJson(payload);
  if (!json.ok) return { kind: 'invalid', issues: json.issues, subject: {} };
  const input = json.value;
  if (!isJsonObject(input)) {
    const message = `must be a JSON object such as {"action": "ACKNOWLEDGE"}, not ${kindOf(input)}`;
    return { kind: 'invalid', issues: [{ path: '', message }], subject: {} };
  }
  const issues: Issue[] = [];
  const operation = readOperation(input, (path, message) => {
    if (issues.length < MAX_ISSUES)
      issues.push({ path: printable(path), message: printable(message) });
  });
  const subject = subjectOf(input);
  return operation === null || issues.length > 0
    ? { kind: 'invalid', issues, subject }
    : { kind: 'operation', operation, subject };
}

function readOperation(input: JsonObject, report: Report): ManageOperation | null {
  reportUnknown(input, [...NAMES, 'duration_minutes'], '', report);
  const action = oneOf(input.action, ACTIONS, 'action', report);
  const name = (key: string) => text(input[key], key, MAX_NAME_LENGTH, report);
  const ruleId = name('rule_id');
  const isSwitch = action === 'DISABLE' || action === 'ENABLE';
  const isOnAll = isSwitch && input.device_id == null;
  const deviceId = isOnAll ? null : name('device_id');
  const minutes = input.duration_minutes;
  if (action !== null && action !== 'SNOOZE' && minutes != null) {
    report('duration_minutes', `is for SNOOZE only: leave it out with ${action}`);
  }
  if (isSwitch) return { action: 'SWITCH', ruleId, deviceId, enabled: action === 'ENABLE' };
  if (action === null || deviceId === null) return null;
  if (action !== 'SNOOZE') return { action, ruleId, deviceId };
  const duration = readMinutes(minutes, report);
  return { action, ruleId, deviceId, duration };
}

function readMinutes(input: JsonValue | undefined, report: Report): Duration {
  const path = 'duration_minutes';
  let fault: string | null = null;
  const minutes = finiteNumber(input, path, (...at) => {
    fault = at[1];
  });
  const duration = { months: 0, days: 0, micros: Math.round(minutes * MICROS_PER_MINUTE) };
  fault ??= snoozeFault(duration);
  if (fault !== null) report(path, fault);
  return duration;
}

function subjectOf(input: JsonObject): ManageSubject {
  const subject: ManageSubject = {};
  for (const name of NAMES) {
    const value = input[name];
    if (typeof value === 'string') subject[name] = value.slice(0, MAX_NAME_LENGTH).toWellFormed();
  }
  return subject;
}

/** What goes to users/{user}/alerts/manage/rejected. */
export function manageRejectedMessage(refused: {
  issues: readonly Issue[];
  subject: ManageSubject;
  at: Micros;
}): string {
  const { issues, subject, at } = refused;
  return JSON.stringify({ ...subject, issues, received_at: formatMicros(at) });
}
