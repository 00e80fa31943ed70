import { describe, expect, test } from 'bun:test';
import { manageRejectedMessage, readManageMessage } from '../../src/mqtt/manage-message.ts';

const read = (input: unknown) =>
  readManageMessage(
    new TextEncoder().encode(typeof input === 'string' ? input : JSON.stringify(input)),
  );
const on = { device_id: 'd', rule_id: 'r' };
const MINUTE = 60_000_000;

describe('an operation is read', () => {
  test.each([
    [
      { ...on, action: 'ACKNOWLEDGE' },
      { action: 'ACKNOWLEDGE', deviceId: 'd', ruleId: 'r' },
    ],
    [
      { ...on, action: 'UNSNOOZE', duration_minutes: null },
      { action: 'UNSNOOZE', deviceId: 'd', ruleId: 'r' },
    ],
    [
      { ...on, action: 'SNOOZE', duration_minutes: 1.5 },
      {
        action: 'SNOOZE',
        deviceId: 'd',
        ruleId: 'r',
        duration: { months: 0, days: 0, micros: 1.5 * MINUTE },
      },
    ],
    [
      { ...on, action: 'DISABLE' },
      { action: 'SWITCH', deviceId: 'd', ruleId: 'r', enabled: false },
    ],
    [
      { rule_id: 'r', action: 'ENABLE' },
      { action: 'SWITCH', deviceId: null, ruleId: 'r', enabled: true },
    ],
  ])('%j', (input, operation) => {
    expect(read(input)).toMatchObject({ kind: 'operation', operation } as never);
  });
});

describe('every fault has its path', () => {
  test.each([
    ['{', ['']],
    ['\u0000', ['']],
    [[], ['']],
    [{}, ['action', 'rule_id', 'device_id']],
    [{ ...on, action: 'snooze', duration_minutes: 1 }, ['action']],
    [{ ...on, action: 'SNOOZE' }, ['duration_minutes']],
    [{ ...on, action: 'SNOOZE', duration_minutes: 0 }, ['duration_minutes']],
    [{ ...on, action: 'SNOOZE', duration_minutes: -5 }, ['duration_minutes']],
    [{ ...on, action: 'SNOOZE', duration_minutes: '5' }, ['duration_minutes']],
    [{ ...on, action: 'SNOOZE', duration_minutes: 1_000_000 }, ['duration_minutes']],
    [
      '{"device_id":"d","rule_id":"r","action":"SNOOZE","duration_minutes":1e999}',
      ['duration_minutes'],
    ],
    [{ ...on, action: 'ACKNOWLEDGE', duration_minutes: 5 }, ['duration_minutes']],
    [{ ...on, action: 'DISABLE', duration_minutes: 5 }, ['duration_minutes']],
    [{ rule_id: 'r', action: 'ACKNOWLEDGE' }, ['device_id']],
    [{ device_id: 'd\0', rule_id: 7, action: 'UNSNOOZE' }, ['rule_id', 'device_id']],
    [{ ...on, action: 'UNSNOOZE', until: 'x' }, ['until']],
  ])('%j', (input, paths) => {
    const message = read(input);
    if (message.kind !== 'invalid') throw new Error(`${message.kind}, not invalid`);
    expect(message.issues.map(({ path }) => path)).toEqual(paths);
  });
});

test('faults without number are told up to 50', () => {
  const many = Object.fromEntries(Array.from({ length: 9_000 }, (_, n) => [`field_${n}`, 1]));
  const message = read({ ...on, action: 'ACKNOWLEDGE', ...many });
  expect(message.kind === 'invalid' && message.issues.length).toBe(50);
});

test('nothing is no operation', () => {
  expect(read('')).toEqual({ kind: 'empty' });
});

test('a refusal says what was refused, when, and why', () => {
  const message = read({ ...on, action: 'SNOOZE', duration_minutes: 0 });
  if (message.kind !== 'invalid') throw new Error('not invalid');
  const { issues, subject } = message;
  expect(JSON.parse(manageRejectedMessage({ issues, subject, at: 1_700_000_000_000_000 }))).toEqual(
    {
      ...on,
      action: 'SNOOZE',
      issues: [{ path: 'duration_minutes', message: 'must be longer than nothing' }],
      received_at: '2023-11-14T22:13:20.000Z',
    },
  );
});

test('what a parser quotes of a text that is no JSON can be stored', () => {
  const message = read('{"a":"b"\0}');
  if (message.kind !== 'invalid') throw new Error(`read as ${message.kind}`);
  expect(message.issues[0]?.message).toContain('is not JSON in UTF-8');
  expect(message.issues[0]?.message).not.toContain('\0');
});

test('so can what is said of an unknown field, wherever its name is cut', () => {
  for (const before of ['', 'x']) {
    const message = read({ ...on, action: 'ACKNOWLEDGE', [`${before}\0${'𐀀'.repeat(200)}`]: 1 });
    if (message.kind !== 'invalid') throw new Error(`read as ${message.kind}`);
    for (const { path, message: text } of message.issues) {
      expect((path + text).isWellFormed() && !(path + text).includes('\0')).toBe(true);
    }
  }
});
