import fc from 'fast-check';
import type { Reading } from '../../src/domain/reading.ts';
import { OPERATORS, type RuleSet } from '../../src/domain/rule.ts';
import { microsAt, type Sent } from '../engine/engine-stage.ts';
import { datedTransitions, type Step } from './alert-oracle.ts';

/** What happens to a fleet, in this order. */
export type Action =
  | { kind: 'send'; given: Given[] }
  /** Of one user's rules: behind all that was sent, which is stored by then. */
  | { kind: 'edit'; user: string; edit: Edit }
  /** The newest engine ends, in the middle of it all or not, and another one starts. */
  | { kind: 'restart'; abruptly: boolean; edit: { user: string; edit: Edit } | null }
  /** The next engine to start finds the group's offsets so far behind. */
  | { kind: 'rewind'; records: number }
  /** An engine that has not heard of the edit takes over from those that have. */
  | { kind: 'lag'; user: string; edit: Edit; abruptly: boolean }
  /** One more engine reads the same log. */
  | { kind: 'join' }
  /** The oldest of several engines ends. */
  | { kind: 'leave'; abruptly: boolean };

export interface Edit {
  by: 'SQL' | 'changeRules';
  /** Null deletes the config. */
  rules: { id: string }[] | null;
  /** Devices on which a rule is off, by its id. */
  disabled: Record<string, string[]>;
}

/** A message as it is generated: which reading it is depends on those before it. */
export interface Given {
  user: string;
  device: string;
  /** Seconds after the one before; mostly one, less than nothing where it is late. */
  step: number;
  temperature: number | null;
  rpm: number | null;
  special: 'again' | 'future' | 'garbage' | null;
}

export interface History {
  actions: Action[];
}

const RULE_IDS = ['r1', 'r2', 'r3'];
export const USERS = ['ann', 'bob'];
const DEVICES = ['d1', 'd2', 'e1'];

const small = fc.integer({ min: -2, max: 2 });
const hold = fc.integer({ min: 1, max: 15 }).map((seconds) => `PT${seconds}S`);
const seldom = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { freq: 2, nil: undefined });

const rule = (id: string) =>
  fc
    .record({
      id: fc.constant(id),
      key: fc.constantFrom('temperature', 'engine.rpm'),
      operator: fc.constantFrom(...OPERATORS),
      threshold: small,
      message: fc.constant('{value} of {device_id}'),
      severity: fc.constant('WARNING'),
      enabled: fc.oneof({ weight: 6, arbitrary: fc.constant(true) }, fc.constant(false)),
      devices: seldom(fc.constantFrom('d*', '?1', 'd2', 'x*')),
      for: seldom(hold),
      clearFor: seldom(hold),
      /** How far behind the threshold it clears. */
      band: seldom(fc.integer({ min: 0, max: 2 })),
    })
    .map(({ clearFor, band, ...one }) => {
      const side = one.operator.startsWith('>') ? -1 : 1;
      const hasBand = band !== undefined && /[<>]/.test(one.operator);
      const clear = { for: clearFor, threshold: hasBand ? one.threshold + side * band : undefined };
      const given = clear.for !== undefined || clear.threshold !== undefined;
      return { ...one, clear: given ? clear : undefined };
    });
const rules = fc
  .tuple(...RULE_IDS.map((id) => fc.option(rule(id), { nil: null })))
  .map((all) => all.filter((one) => one !== null).map((one) => JSON.parse(JSON.stringify(one))));
const user = fc.constantFrom(...USERS);
const edit: fc.Arbitrary<Edit> = fc
  .record({
    by: fc.constantFrom('SQL' as const, 'changeRules' as const),
    rules: fc.option(rules, { freq: 9, nil: null }),
    off: seldom(fc.tuple(fc.constantFrom(...RULE_IDS), fc.constantFrom(...DEVICES))),
  })
  .map(({ by, rules: all, off: [id, device] = ['', ''] }) => {
    const disabled = all?.some((one) => one.id === id) ? { [id]: [device] } : {};
    return { by, rules: all, disabled };
  });
const given: fc.Arbitrary<Given> = fc.record({
  user,
  device: fc.constantFrom(...DEVICES),
  step: fc.oneof(
    { weight: 8, arbitrary: fc.constant(1) },
    { weight: 1, arbitrary: fc.constant(0) },
    { weight: 2, arbitrary: fc.integer({ min: -12, max: 12 }) },
  ),
  temperature: fc.option(small, { freq: 8, nil: null }),
  rpm: fc.option(small, { freq: 2, nil: null }),
  special: fc.oneof(
    { weight: 12, arbitrary: fc.constant(null) },
    { weight: 2, arbitrary: fc.constant('again' as const) },
    { weight: 1, arbitrary: fc.constantFrom('future' as const, 'garbage' as const) },
  ),
});
const abruptly = fc.boolean();
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('send' as const),
      given: fc.array(given, { minLength: 1, maxLength: 60, size: 'max' }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('edit' as const), user, edit }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('restart' as const),
      abruptly,
      edit: fc.option(fc.record({ user, edit }), { freq: 3, nil: null }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('rewind' as const),
      records: fc.integer({ min: 1, max: 40 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('lag' as const), user, edit, abruptly }),
  },
  { weight: 1, arbitrary: fc.constant<Action>({ kind: 'join' }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), abruptly }) },
);

export const history: fc.Arbitrary<History> = fc
  .tuple(rules, rules, fc.array(action, { minLength: 4, maxLength: 14, size: 'max' }))
  .map(([ann, bob, actions]) => {
    const first = [ann, bob].map(
      (one, n): Action => ({
        kind: 'edit',
        user: USERS[n] as string,
        edit: { by: 'SQL', rules: one, disabled: {} },
      }),
    );
    return { actions: [...first, ...actions] };
  });

/** A transition as it is compared, of one rule on one device. */
export interface Named {
  type: string;
  reason: string | null;
  time: number;
  startedBy: { time: number; sequenceId: number };
  /** Since when it had held, of one that fired. */
  since: number | null;
}

/** All that was sent and changed, device by device, and what has to come of it. */
export interface NaiveFleet {
  /** What is sent next; undefined where it isn't a reading. */
  take(given: Given): Sent | undefined;
  /** A reading of each device of the user, of no value to any rule. */
  roundOf(user: string): Sent[];
  /** These rules are in force now, and every open episode was looked at under them. */
  edited(ruleSet: RuleSet): void;
  /** By user, device and rule. */
  transitions(): Record<string, Named[]>;
  /** Keys of the readings, each once. */
  stored(): string[];
  garbage(): number;
}

export function createNaiveFleet(): NaiveFleet {
  const ruleSets = new Map<string, RuleSet>();
  const steps = new Map<string, { user: string; device: string; steps: Step[] }>();
  const sent: Sent[] = [];
  let now = 0;
  let garbage = 0;

  function add(one: Sent, isFuture: boolean): void {
    const { user, device } = one as Required<Sent>;
    const ruleSet = ruleSets.get(user);
    if (ruleSet === undefined) throw new Error(`no rules of ${user}`);
    const name = `${user}/${device}`;
    const of = steps.get(name) ?? { user, device, steps: [] };
    steps.set(name, of);
    // Of one dated in the future no rule takes a value, but its arrival brings the rules in force.
    const reading = isFuture ? null : readingOf(one);
    of.steps.push({ reading, ruleSet });
  }

  const openOf = (all: Step[]) =>
    RULE_IDS.some((id) => datedTransitions(all, id).at(-1)?.type === 'FIRED');

  return {
    take({ user, device, step, temperature, rpm, special }) {
      if (special === 'garbage') return void garbage++;
      if (special === 'again') {
        const again = sent.findLast((one) => one.user === user && one.device === device);
        if (again !== undefined) {
          add(again, again.at > FUTURE_S);
          return again;
        }
      }
      now = Math.max(0, now + (step > 0 ? step : 1));
      const at = special === 'future' ? FUTURE_S + now + 1 : Math.max(0, now + Math.min(0, step));
      const one: Sent = { user, device, at, seq: sent.length, temperature };
      if (rpm !== null) one.more = `"engine":{"rpm":${rpm}}`;
      sent.push(one);
      add(one, special === 'future');
      return one;
    },
    roundOf: (user) =>
      DEVICES.map((device) => {
        const one: Sent = { user, device, at: ++now, seq: sent.length };
        sent.push(one);
        add(one, false);
        return one;
      }),
    edited(ruleSet) {
      const { userId: user } = ruleSet;
      ruleSets.set(user, ruleSet);
      // A device with an open episode need not send for it to end; the others learn of the rules
      // by their next reading.
      for (const { steps: all, user: owner } of steps.values()) {
        if (owner !== user || !openOf(all)) continue;
        all.push({ ruleSet, reading: null });
      }
    },
    transitions() {
      const all: Record<string, Named[]> = {};
      for (const [name, { steps: of }] of steps) {
        for (const id of RULE_IDS) {
          const named = datedTransitions(of, id).map(({ ruleId: _, ...one }) => one);
          if (named.length > 0) all[`${name} ${id}`] = named;
        }
      }
      return all;
    },
    stored: () =>
      [
        ...new Set(sent.map(({ user, device, at, seq }) => `${user}/${device} ${at} ${seq}`)),
      ].sort(),
    garbage: () => garbage,
  };
}

/** An hour ahead of the stage's beginning, which lies ten minutes back. */
const FUTURE_S = 3_600;

function readingOf({ user, device, at, seq, temperature = null, more }: Sent): Reading<never> {
  return {
    userId: user as string,
    deviceId: device as string,
    time: microsAt(at),
    sequenceId: seq,
    columns: { temperature } as never,
    extra: more === undefined ? null : JSON.parse(`{${more}}`),
  };
}
