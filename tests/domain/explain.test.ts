import { describe, expect, test } from 'bun:test';
import { NO_MEMORY, type RuleMemory } from '../../src/domain/alert.ts';
import { explain, lateReadings } from '../../src/domain/explain.ts';
import type { JsonValue } from '../../src/domain/json.ts';
import type { Reading } from '../../src/domain/reading.ts';
import { reconcile } from '../../src/domain/reconcile.ts';
import { evaluate, foresee, silence } from '../../src/domain/reducer.ts';
import { forgetTimes } from '../../src/domain/reset-clock.ts';
import type { Disabled, NoDataRule, Rule, ThresholdRule } from '../../src/domain/rule.ts';
import { toRuleSet } from '../../src/domain/rule-content.ts';
import { model } from '../../src/model.ts';

const MINUTE = 60_000_000;
const T0 = Date.UTC(2026, 0, 5, 10) * 1_000;
const DEVICE = { userId: 'u', deviceId: 'pump_1' };
const COMMON = { id: 'r', message: 'm', severity: 'INFO' as const, enabled: true };
const HOT: ThresholdRule = { ...COMMON, key: 'temperature', operator: '>', threshold: 80 };
const HELD: ThresholdRule = { ...HOT, for: 'PT5M', clear: { threshold: 75, for: 'PT3M' } };
const QUIET: NoDataRule = { ...COMMON, noData: 'PT10M' };

function reading(minute: number, value: JsonValue, sequenceId = minute): Reading {
  const time = T0 + minute * MINUTE;
  return { ...DEVICE, time, sequenceId, columns: {}, extra: { temperature: value } };
}

const setOf = (rule: Rule, version = 1, disabled: Disabled = {}) =>
  toRuleSet({ userId: 'u', version, content: { shorthands: {}, rules: [rule], disabled }, model });

/** `[minute, value]`, in the order of arrival. */
type Sent = readonly (readonly [minute: number, value: JsonValue])[];

/** The memory after the readings, and what a rule's state refers to. */
function after(rule: Rule, sent: Sent) {
  let memory: RuleMemory = NO_MEMORY;
  let startedAt: number | null = null;
  const readings = sent.map(([minute, value], n) => reading(minute, value, n));
  for (const one of readings) {
    const evidence = { partition: 0, offset: 0, arrival: one.time };
    const result = evaluate(memory, one, setOf(rule), evidence);
    memory = result.memory;
    for (const { type, time } of result.transitions) startedAt = type === 'FIRED' ? time : null;
  }
  return { memory, startedAt, readings };
}

interface How {
  /** The rule that is in force by now. */
  now?: Rule;
  disabled?: Disabled;
  /** The readings are past their retention. */
  pruned?: boolean;
  reset?: boolean;
}

function explained(rule: Rule, sent: Sent, how: How = {}) {
  const { memory: left, startedAt, readings } = after(rule, sent);
  const inForce = setOf(how.now ?? rule, how.now || how.disabled ? 2 : 1, how.disabled);
  const { memory } = reconcile(how.reset ? forgetTimes(left) : left, DEVICE, inForce, null);
  const state = memory.rules.r;
  const decided = readings.find(({ time, sequenceId }) => {
    return time === state?.time && sequenceId === state.sequenceId;
  });
  const device = { deviceId: 'pump_1', memory, lastArrivalAt: null, clock: null };
  const found = explain(inForce.all[0] as Rule, inForce, device, {
    reading: how.pruned ? null : (decided ?? null),
    startedAt: state?.episode ? startedAt : null,
  });
  return { ...found, late: lateReadings(memory, state) };
}

const cases: [string, ThresholdRule, Sent, How, string, string][] = [
  ['calm', HOT, [[0, 71]], {}, 'OK', 'temperature 71 is not > 80'],
  [
    'calm, and its reading is gone',
    HOT,
    [[0, 71]],
    { pruned: true },
    'OK',
    'the reading of 2026-01-05T10:00:00.000Z decided it, and its value is not known any more',
  ],
  [
    'text',
    { ...HOT, operator: '==', threshold: 'FAULT' },
    [[0, 'OK']],
    {},
    'OK',
    'temperature "OK" is not == "FAULT"',
  ],
  [
    'firing',
    HOT,
    [
      [0, 85],
      [1, 86],
    ],
    {},
    'FIRING',
    'it fired at 2026-01-05T10:00:00.000Z, and temperature 86 is > 80',
  ],
  [
    'firing by its hysteresis',
    { ...HOT, clear: { threshold: 75 } },
    [
      [0, 85],
      [1, 78],
    ],
    {},
    'FIRING',
    'it fired at 2026-01-05T10:00:00.000Z, and temperature 78 is > 75',
  ],
  [
    'pending',
    HELD,
    [
      [0, 70],
      [2, 85],
      [5, 88],
    ],
    {},
    'PENDING',
    'temperature 88 is > 80, since 2026-01-05T10:02:00.000Z for PT3M; it fires after PT5M',
  ],
  [
    'clearing',
    HELD,
    [
      [0, 85],
      [5, 85],
      [6, 70],
      [8, 71],
    ],
    {},
    'CLEARING',
    'it fired at 2026-01-05T10:05:00.000Z, but temperature 71 is not > 75, ' +
      'since 2026-01-05T10:06:00.000Z for PT2M; it clears after PT3M',
  ],
  [
    'cleared',
    HOT,
    [
      [0, 85],
      [1, 20],
    ],
    {},
    'OK',
    'temperature 20 is not > 80',
  ],
  [
    'nothing to compare',
    HOT,
    [
      [0, 'hot'],
      [1, null],
    ],
    {},
    'NO_DATA',
    'no reading with a number under "temperature" has been judged by it yet',
  ],
  [
    'edited since, and would hold',
    HOT,
    [[0, 75]],
    { now: { ...HOT, threshold: 70 } },
    'OK',
    'temperature 75 is > 70, but came before the rule was as it is now; the next reading is judged',
  ],
  [
    'edited since, and measures something else',
    HOT,
    [[0, 85]],
    { now: { ...HOT, operator: '<' } },
    'NO_DATA',
    'no reading with a number under "temperature" has been judged by it yet',
  ],
  [
    'a duplicate',
    HOT,
    [
      [5, 71],
      [4, 95],
    ],
    {},
    'LATE',
    'the newest reading is dated at or before 2026-01-05T10:05:00.000Z, which this rule has ' +
      'already seen: it came late or twice; before them temperature 71 is not > 80',
  ],
  [
    'a clock that went back',
    HOT,
    [
      [5, 71],
      [1, 95],
      [2, 95],
    ],
    {},
    'LATE',
    'the newest 2 readings are dated at or before 2026-01-05T10:05:00.000Z, which this rule has ' +
      "already seen: they came late, or the device's clock has gone back, and resetDeviceClock " +
      'releases it; before them temperature 71 is not > 80',
  ],
  [
    'a clock that went back while it fired',
    HOT,
    [
      [5, 85],
      [1, 20],
      [2, 20],
    ],
    {},
    'FIRING',
    'the newest 2 readings are dated at or before 2026-01-05T10:05:00.000Z, which this rule has ' +
      "already seen: they came late, or the device's clock has gone back, and resetDeviceClock " +
      'releases it; before them it fired at 2026-01-05T10:05:00.000Z, and temperature 85 is > 80',
  ],
  [
    'a clock that was reset while it fired',
    HOT,
    [[5, 85]],
    { reset: true },
    'FIRING',
    "it fired at 2026-01-05T10:05:00.000Z; the device's clock was reset, and the next reading is " +
      'judged anew',
  ],
  [
    'not enabled',
    HOT,
    [[0, 85]],
    { now: { ...HOT, enabled: false } },
    'DISABLED',
    'it is not enabled',
  ],
  [
    'off here',
    HOT,
    [[0, 85]],
    { disabled: { r: ['pump_1'] } },
    'DEVICE_DISABLED',
    'it is off on this device',
  ],
  [
    'not for this device',
    { ...HOT, devices: 'fan_*' },
    [[0, 85]],
    {},
    'NOT_COVERED',
    '"fan_*" does not match this device',
  ],
];

test.each(cases)('%s', (_, rule, sent, how, status, reason) => {
  const found = explained(rule, sent, how);
  expect({ status: found.status, reason: found.reason }).toEqual({ status, reason } as never);
});

test('tells since when, the value that decided, and how many came too late', () => {
  const pending: Sent = [
    [0, 70],
    [2, 85],
    [5, 88],
  ];
  expect(explained(HELD, pending)).toMatchObject({ since: T0 + 2 * MINUTE, value: 88, late: 0 });
  expect(explained(HOT, [[3, 85]])).toMatchObject({ since: T0 + 3 * MINUTE, value: 85 });
  expect(explained(HOT, [[3, 71]])).toMatchObject({ since: null, value: 71 });
  const late: Sent = [
    [9, 71],
    [1, 1],
    [2, 2],
    [9.5, 72],
  ];
  expect(explained(HOT, late.slice(0, 3))).toMatchObject({ status: 'LATE', value: 71, late: 2 });
  expect(explained(HOT, late)).toMatchObject({ status: 'OK', value: 72, late: 0 });
});

describe('silence', () => {
  const set = setOf(QUIET);
  const at = (minute: number) => T0 + minute * MINUTE;
  const told = (arrived: number | null, clock: number | null, flowing = 0) => {
    const lastArrivalAt = arrived === null ? null : at(arrived);
    const own = clock === null ? null : { at: at(clock), flowingSince: at(flowing) };
    const device = { deviceId: 'pump_1', memory: NO_MEMORY, lastArrivalAt, clock: own };
    const { status, reason } = explain(QUIET, set, device, { reading: null, startedAt: null });
    return `${status}: ${reason}`;
  };

  test('is measured by the clock of the log, and begins anew where that was interrupted', () => {
    expect(told(1, 5)).toBe(
      'OK: silent since 2026-01-05T10:01:00.000Z for PT4M by the clock of the log; it fires after PT10M',
    );
    expect(told(1, 5, 3)).toBe(
      'OK: the log was interrupted; silent since 2026-01-05T10:03:00.000Z for PT2M by the clock ' +
        'of the log; it fires after PT10M',
    );
    expect(told(1, 11)).toBe(
      'PENDING: silent since 2026-01-05T10:01:00.000Z for PT10M by the clock of the log; ' +
        'it fires at the next look',
    );
    expect(told(null, 5)).toBe('NO_DATA: nothing of this device has been read from the log yet');
    expect(told(5, null)).toStartWith('NO_DATA');
  });

  test('that fires says since when', () => {
    const clock = { at: at(12), flowingSince: at(0), partition: 0, offset: 5 };
    const lastArrivalAt = at(1);
    const { memory } = silence(NO_MEMORY, { ...DEVICE, lastArrivalAt }, set, clock);
    const device = { deviceId: 'pump_1', memory, lastArrivalAt, clock };
    expect(explain(QUIET, set, device, { reading: null, startedAt: at(11) })).toEqual({
      status: 'FIRING',
      since: at(11),
      value: null,
      reason:
        'nothing has arrived since 2026-01-05T10:01:00.000Z, and it fired at 2026-01-05T10:11:00.000Z',
    });
  });
});

test('readings from the future are told, until one is not', () => {
  const { memory } = after(HOT, [[0, 71]]);
  const ahead = foresee(foresee(memory, reading(30, 90)), reading(31, 91));
  const told = (state: RuleMemory) => {
    const device = { deviceId: 'pump_1', memory: state, lastArrivalAt: null, clock: null };
    return explain(HOT, setOf(HOT), device, { reading: null, startedAt: null });
  };
  expect(told(ahead)).toMatchObject({ status: 'FUTURE', since: null });
  expect(told(ahead).reason).toStartWith(
    'the newest 2 readings are dated too far ahead of the arrival, up to 2026-01-05T10:31:00.000Z',
  );
  expect(told(foresee(NO_MEMORY, reading(30, 90))).status).toBe('FUTURE');
  const evidence = { partition: 0, offset: 0, arrival: T0 };
  for (const set of [setOf(HOT), setOf(QUIET)]) {
    const { memory: next } = evaluate({ ...ahead, version: 1 }, reading(2, 72), set, evidence);
    expect(next.future).toBeUndefined();
  }
});
