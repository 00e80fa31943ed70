import { expect, test } from 'bun:test';
import { cases, type Happening, tell } from '../support/rule-story.ts';

const FOR = { for: '10s' };
const EQUAL = { operator: '==' };
const HOLD = { clear: { for: '10s' } };
const BOTH = { clear: { threshold: 75, for: '10s' } };
const MINUTE = { noData: '1m' };

cases('an edit', [
  ['up, still held: the alert goes on', [{}, '0=85', { threshold: 84 }, 's1 2=85'], 'fired 0'],
  [
    'up, not held: it ends when it was last seen',
    [{}, '0=85 1=86', { threshold: 86 }, 's2'],
    'fired 0, rule_edited 1',
  ],
  [
    'up, and it fires anew',
    [{}, '0=85', { threshold: 86 }, '1=87'],
    'fired 0, rule_edited 0, fired 1',
  ],
  ['down: it goes on', [{}, '0=85', { threshold: 70 }, 's1 2=71'], 'fired 0'],
  ['down: nothing fires without a reading', [{}, '0=75', { threshold: 70 }, 's1'], ''],
  ['down: the next reading fires', [{}, '0=75', { threshold: 70 }, '1=75'], 'fired 1'],
  ['of the message alone', [{}, '0=85', { message: 'other' }, 's1 2=85'], 'fired 0'],
  ['of the severity alone', [{}, '0=85', { severity: 'CRITICAL' }, 's1 2=85'], 'fired 0'],
  ['of another rule', [[{}], '0=85', [{}, { id: 'b', key: 'y' }], 's1 2=85'], 'fired 0'],
  ['of the operator', [{}, '0=85', { operator: '>=' }, 's1'], 'fired 0, rule_edited 0'],
  ['of the key', [{}, '0=85', { key: 'y' }, 's1'], 'fired 0, rule_edited 0'],
  [
    'of the operator starts anew, also in time',
    [{}, '10=85', { operator: '>=' }, '11@5=80'],
    'fired 10, rule_edited 10, fired 5',
  ],
  [
    'to text, which is unlike any number',
    [{ operator: '!=' }, '0=81', { operator: '!=', threshold: 'hot' }, 's1'],
    'fired 0, rule_edited 0',
  ],
  [
    'to text',
    [{ ...EQUAL, threshold: 80 }, '0=80', { ...EQUAL, threshold: 'hot' }, 's1'],
    'fired 0, rule_edited 0',
  ],
  [
    'to a glob that leaves the device out',
    [{}, '0=85', { devices: 'fan*' }, 's1'],
    'fired 0, rule_edited 0',
  ],
  [
    'to a glob and back',
    [{}, '9=85', { devices: 'fan*' }, 's10', {}, '11@8=85 12=85'],
    'fired 9, rule_edited 9, fired 12',
  ],
  [
    'while waiting, still held',
    [FOR, '0=85', { ...FOR, threshold: 84 }, 's1 10=85'],
    'fired 10 since 0',
  ],
  ['while waiting, down', [FOR, '0=85', { ...FOR, threshold: 70 }, '10=75'], 'fired 10 since 0'],
  [
    'while waiting, not held',
    [FOR, '0=85', { ...FOR, threshold: 86 }, '10=87 20=87'],
    'fired 20 since 10',
  ],
  [
    'down while not waiting: from the next reading',
    [FOR, '0=75', { ...FOR, threshold: 70 }, '5=75 14=75 15=75'],
    'fired 15 since 5',
  ],
  [
    '`for` shorter: fires with the next reading',
    [FOR, '0=85 6=85', { for: '5s' }, 's7 8=85'],
    'fired 8 since 0',
  ],
  ['`for` away', [FOR, '0=85', {}, '1=85'], 'fired 1 since 0'],
  ['`for` longer', [FOR, '0=85', { for: '20s' }, '10=85 20=85'], 'fired 20 since 0'],
  ['`for` on an open alert', [{}, '0=85', FOR, 's1 2=85'], 'fired 0'],
  ['`clear` to an open alert', [{}, '0=85', BOTH, 's1 2=76 20=76'], 'fired 0'],
  ['`clear` away while clearing', [HOLD, '0=85 1=79', {}, 's2'], 'fired 0, rule_edited 0'],
  [
    '`clear` shorter, not over yet',
    [HOLD, '0=85 1=79', { clear: { for: '5s' } }, 's2 5=79 6=79'],
    'fired 0, cleared 6',
  ],
  [
    '`clear` shorter, already over',
    [HOLD, '0=85 1=79 8=79', { clear: { for: '5s' } }, 's9'],
    'fired 0, rule_edited 0',
  ],
  [
    '`clear` longer',
    [HOLD, '0=85 1=79', { clear: { for: '20s' } }, '11=79 21=79'],
    'fired 0, cleared 21',
  ],
  [
    '`clear` threshold down while clearing',
    [BOTH, '0=85 1=74', { clear: { threshold: 70, for: '10s' } }, '11=74'],
    'fired 0',
  ],
  [
    'down while clearing, held again',
    [HOLD, '0=85 1=79', { ...HOLD, threshold: 70 }, '20=79'],
    'fired 0',
  ],
  [
    'down while clearing, and the hold begins anew',
    [HOLD, '0=85 1=79', { ...HOLD, threshold: 70 }, '5=69 14=69 15=69'],
    'fired 0, cleared 15',
  ],
  [
    'up with a hold: it clears from the last reading',
    [HOLD, '0=85', { ...HOLD, threshold: 90 }, 's1 9=85 10=85'],
    'fired 0, cleared 10',
  ],
  ['off', [{}, '0=85', { enabled: false }, 's1'], 'fired 0, rule_disabled 0'],
  [
    'off and on',
    [{}, '0=85', { enabled: false }, 's1', {}, '2=85'],
    'fired 0, rule_disabled 0, fired 2',
  ],
  [
    'off and on: older readings stay LATE',
    [{}, '9=85', { enabled: false }, 's10', {}, '11@8=85'],
    'fired 9, rule_disabled 9',
  ],
  [
    'off and on: waiting begins anew',
    [FOR, '0=85', { enabled: false, ...FOR }, '1=85', FOR, '10=85 20=85'],
    'fired 20 since 10',
  ],
  ['off on the device', [{}, '0=85', { off: ['pump_1'] }, 's1 2=85'], 'fired 0, device_disabled 0'],
  [
    'off on the device and on',
    [{}, '0=85', { off: ['pump_1'] }, 's1', {}, '2=85'],
    'fired 0, device_disabled 0, fired 2',
  ],
  [
    'off altogether says more than off on the device',
    [{}, '0=85', { enabled: false, off: ['pump_1'] }, 's1'],
    'fired 0, rule_disabled 0',
  ],
  ['deleted', [{}, '0=85', null, 's1'], 'fired 0, rule_deleted 0'],
  ['deleted, told by the next reading', [{}, '0=85', null, '5=85'], 'fired 0, rule_deleted 0'],
  ['deleted, told by a LATE reading', [{}, '5=85', null, '6@1=85'], 'fired 5, rule_deleted 5'],
  ['deleted, told by a FUTURE reading', [{}, '5=85', null, '6@999=85'], 'fired 5, rule_deleted 5'],
  [
    'deleted and there again',
    [{}, '9=85', null, 's10', {}, '11@8=85'],
    'fired 9, rule_deleted 9, fired 8',
  ],
  ['deleted while waiting', [FOR, '0=85', null, '5=85', FOR, '10=85'], ''],
]);

test('silence that fires again, after an edit, is another alert', () => {
  const off = { ...MINUTE, enabled: false };
  const { transitions } = tell(MINUTE, '0 ~60', off, 's61', MINUTE, '~62 70');
  expect(new Set(transitions.map(({ eventId }) => eventId)).size).toBe(4);
});

test('what is remembered stays small: of rules that are there, and no more', () => {
  const many = (from: number) =>
    Array.from({ length: 200 }, (_, n) => ({ id: `r${from + n}`, key: 'x' }));
  const state = (...happenings: Happening[]) => tell(...happenings).state;
  expect(Object.keys(state(many(0), '0=85', many(200), '1=85')?.memory.rules ?? {})).toHaveLength(
    200,
  );
  expect(state(many(0), '0=85', null, '1=85')?.memory.rules).toEqual({});
  expect(state(MINUTE, '0 ~60 61')?.memory.rules).toEqual({});
});
