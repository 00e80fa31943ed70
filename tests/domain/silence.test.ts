import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { cases, type Fields, type Happening, story, tell } from '../support/rule-story.ts';

const MINUTE = { noData: '1m' };

cases('a rule on missing data', [
  ['fires after exactly as long', [MINUTE, '0 ~60'], 'fired 60 since 0'],
  ['not a microsecond before', [MINUTE, '0 ~59.999999'], ''],
  ['tells when it was due, however late it is looked at', [MINUTE, '0 ~1000'], 'fired 60 since 0'],
  ['once', [MINUTE, '0 ~60 ~70 ~3600'], 'fired 60 since 0'],
  ['not for a device that was never heard of', [MINUTE, '~60 ~3600'], ''],
  ['ends with the next reading', [MINUTE, '0 ~60 90'], 'fired 60 since 0, cleared 90'],
  ['ends with a LATE one', [MINUTE, '10 ~70 90@5'], 'fired 70 since 10, cleared 90'],
  ['ends with a FUTURE one', [MINUTE, '10 ~70 90@9999'], 'fired 70 since 10, cleared 90'],
  [
    'counts arrival, not what readings are dated',
    [MINUTE, '100@5 ~159 ~160'],
    'fired 160 since 100',
  ],
  [
    'fires again',
    [MINUTE, '0 ~60 90 ~149 ~150'],
    'fired 60 since 0, cleared 90, fired 150 since 90',
  ],
  ['counts anew after an interruption', [MINUTE, '0 !50 ~60 ~109 ~110'], 'fired 110 since 50'],
  ['stays open over an interruption', [MINUTE, '0 ~60 !100 ~110 ~200'], 'fired 60 since 0'],
  [
    'does not end before it began, if the log goes back',
    [MINUTE, '0 ~60 50'],
    'fired 60 since 0, cleared 60',
  ],
  [
    'nor fires at once again then',
    [MINUTE, '0 ~60 50 ~119 ~120'],
    'fired 60 since 0, cleared 60, fired 120 since 60',
  ],
  ['of a glob', [{ ...MINUTE, devices: 'pump*' }, '0 ~60'], 'fired 60 since 0'],
  ['of another glob', [{ ...MINUTE, devices: 'fan*' }, '0 ~60'], ''],
  ['off', [{ ...MINUTE, enabled: false }, '0 ~60'], ''],
  ['off on the device', [{ ...MINUTE, off: ['pump_1'] }, '0 ~60'], ''],
  [
    'is apart from another one',
    [[MINUTE, { id: 'b', noData: '2m' }], '0 ~60 ~120 130'],
    'fired 60 since 0, b fired 120 since 0, cleared 130, b cleared 130',
  ],
  [
    'is apart from a threshold',
    [[MINUTE, { id: 'b', key: 'x', operator: '>', threshold: 80 }], '0=81 ~60 90=79'],
    'b fired 0, fired 60 since 0, cleared 90, b cleared 90',
  ],
]);

const FIRED = 'fired 60 since 0';

cases('an edit of a rule on missing data', [
  ['longer, not due yet', [MINUTE, '0 ~60', { noData: '2m' }, 's70'], `${FIRED}, rule_edited 60`],
  [
    'longer, due later',
    [MINUTE, '0 ~60', { noData: '2m' }, '~70 ~119 ~120'],
    `${FIRED}, rule_edited 60, fired 120 since 0`,
  ],
  ['longer, but silent for longer', [MINUTE, '0 ~60', { noData: '2m' }, 's120 ~130'], FIRED],
  [
    'longer, and a reading before anybody looked',
    [MINUTE, '0 ~60', { noData: '2m' }, '70'],
    `${FIRED}, cleared 70`,
  ],
  ['shorter', [MINUTE, '0 ~60', { noData: '30s' }, 's61 ~62'], FIRED],
  ['shorter, not fired yet', [MINUTE, '0 ~40', { noData: '30s' }, '~41'], 'fired 30 since 0'],
  ['of the message', [MINUTE, '0 ~60', { ...MINUTE, message: 'n' }, 's61 ~62'], FIRED],
  ['of another rule', [[MINUTE], '0 ~60', [MINUTE, { id: 'b' }], 's61 ~62'], FIRED],
  [
    'off',
    [MINUTE, '0 ~60', { ...MINUTE, enabled: false }, 's61 ~62'],
    `${FIRED}, rule_disabled 60`,
  ],
  [
    'off and on, of the same silence',
    [MINUTE, '0 ~60', { ...MINUTE, enabled: false }, 's61', MINUTE, '~62'],
    `${FIRED}, rule_disabled 60, ${FIRED}`,
  ],
  [
    'off on the device',
    [MINUTE, '0 ~60', { ...MINUTE, off: ['pump_1'] }, 's61 ~62'],
    `${FIRED}, device_disabled 60`,
  ],
  [
    'to another glob',
    [MINUTE, '0 ~60', { ...MINUTE, devices: 'fan*' }, 's61 ~62'],
    `${FIRED}, rule_edited 60`,
  ],
  ['deleted', [MINUTE, '0 ~60', null, 's61'], `${FIRED}, rule_deleted 60`],
  ['deleted, told by a reading', [MINUTE, '0 ~60', null, '70'], `${FIRED}, rule_deleted 60`],
  [
    'deleted and there again',
    [MINUTE, '0 ~60', null, 's61', MINUTE, '~62'],
    `${FIRED}, rule_deleted 60, ${FIRED}`,
  ],
  ['to a threshold', [MINUTE, '0 ~60', {}, 's61 62=81'], `${FIRED}, rule_edited 60, fired 62`],
  ['from a threshold', [{}, '0=81', MINUTE, 's1 ~60'], 'fired 0, rule_edited 0, fired 60 since 0'],
  [
    'from a threshold, told by the look',
    [{}, '0=81', MINUTE, '~60'],
    'fired 0, rule_edited 0, fired 60 since 0',
  ],
]);

test('silence has no value and no reading, and its evidence says how late it was', () => {
  const [fired, ended] = tell(MINUTE, '0=7 5=8 ~70 80=9').transitions;
  expect(fired).toMatchObject({ value: null, eventTime: null, sequenceId: null });
  expect(fired).toMatchObject({ message: 'm', evidence: { partition: 0, offset: 2 } });
  expect(ended).toMatchObject({ type: 'RESOLVED', value: null });
});

test('a message tells the silence, and the threshold that was crossed', () => {
  const message = '{device_id} {value} {threshold} {key}';
  const messageOf = (...happenings: Happening[]) => {
    const [first] = tell(...happenings).transitions;
    return first?.type === 'FIRED' && first.message;
  };
  expect(messageOf({ noData: '90s', message }, '0 ~100')).toBe('pump_1 PT1M30S PT1M30S ');
  expect(messageOf({ message }, '0=81.5')).toBe('pump_1 81.5 80 x');
  expect(messageOf({ message, operator: '==', threshold: true }, '0=true')).toBe(
    'pump_1 true true x',
  );
});

/** What happens, as the story tells it; edits are rules, or null for none. */
type Event = { at: number; what: 'hear' | '~' | '!' | 's' } | { rule: Fields | null };

const RULES: (Fields | null)[] = [
  null,
  {},
  { noData: '1m' },
  { noData: '1m', message: 'other' },
  { noData: '30s' },
  { noData: '2m' },
  { noData: '1m', enabled: false },
  { noData: '1m', off: ['pump_1'] },
  { noData: '1m', devices: 'fan*' },
];

const events: fc.Arbitrary<Event[]> = fc
  .array(
    fc.oneof(
      fc.record({
        after: fc.constantFrom(0, 1, 15, 30, 45, 60),
        // A log may stamp an arrival a little too early.
        what: fc.constantFrom('hear', 'hear', 'early', '~', '~', '!', 's'),
      }),
      fc.record({ rule: fc.constantFrom(...RULES) }),
    ),
    { maxLength: 25 },
  )
  .map((all) => {
    let now = 100;
    return all.map((one): Event => {
      if ('rule' in one) return one;
      now += one.after;
      const { what } = one;
      return what === 'early' ? { at: now - 20, what: 'hear' } : { at: now, what };
    });
  });

/** From all that happened before, each time. */
function expected(all: readonly Event[]): string[] {
  const told: string[] = [];
  let open: number | null = null;
  let judged = -1;
  for (const [index, event] of all.entries()) {
    if ('rule' in event || event.what === '!') continue;
    const before = all.slice(0, index + 1);
    const clock = (count: number) =>
      Math.max(...before.slice(0, count + 1).map((one) => ('at' in one ? one.at : 0)));
    const ruleAt = before.findLastIndex((one) => 'rule' in one);
    const rule = (before[ruleAt] as { rule: Fields | null } | undefined)?.rule ?? null;
    const wait = rule && 'noData' in rule ? seconds(rule.noData as string) : null;
    const heardAt = before.findLastIndex((one, at) => isHeard(one) && at < index);
    const isEdited = ruleAt > judged;
    if (heardAt < 0 && event.what !== 'hear') continue;
    judged = index;
    const silentFor = event.what === 'hear' ? null : event.at - clock(heardAt);
    const end = (reason: string, at: number) => {
      told.push(`${reason} ${at}`);
      open = null;
    };
    if (open !== null && isEdited) {
      if (rule === null) end('rule_deleted', open);
      else if (wait === null) end('rule_edited', open);
      else if (rule.enabled === false) end('rule_disabled', open);
      else if (rule.off !== undefined) end('device_disabled', open);
      else if (rule.devices !== undefined) end('rule_edited', open);
      else if (silentFor !== null && silentFor < wait) end('rule_edited', open);
    }
    if (open !== null && event.what === 'hear') end('cleared', Math.max(event.at, open));
    const isOn = rule !== null && !rule.off && !rule.devices && rule.enabled !== false;
    if (event.what !== '~' || open !== null || wait === null || !isOn) continue;
    const flows = before.findLast((one) => 'at' in one && one.what === '!') as { at: number };
    const quietSince = Math.max(clock(heardAt), flows?.at ?? 0);
    if (event.at - quietSince < wait) continue;
    open = quietSince + wait;
    told.push(`fired ${open} since ${quietSince}`);
  }
  return told;
}

const isHeard = (one: Event) => 'at' in one && one.what === 'hear';
const seconds = (text: string) => Number.parseInt(text, 10) * (text.endsWith('m') ? 60 : 1);

test('is told as the whole of what happened says, whatever is edited meanwhile', () => {
  fc.assert(
    fc.property(events, (all) => {
      const happenings = all.map((one): Happening => {
        if ('rule' in one) return one.rule;
        return one.what === 'hear' ? `${one.at}` : `${one.what}${one.at}`;
      });
      expect(story(...happenings)).toBe(expected(all).join(', '));
    }),
    { numRuns: 2_000 },
  );
});
