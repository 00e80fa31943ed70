import { describe, expect, test } from 'bun:test';
import type { Transition } from '../../src/domain/alert.ts';
import { parseJson } from '../../src/domain/json.ts';
import { reconcile } from '../../src/domain/reconcile.ts';
import { silence } from '../../src/domain/reducer.ts';
import type { RuleSet } from '../../src/domain/rule.ts';
import { parseConfig } from '../../src/domain/rule-config.ts';
import { mergeConfig, NO_CONTENT, toRuleSet } from '../../src/domain/rule-content.ts';
import { deviceKey } from '../../src/domain/topic.ts';
import { createBatch } from '../../src/engine/batch.ts';
import { addRecord } from '../../src/engine/evaluate.ts';
import { model } from '../../src/model.ts';
import type { DeviceState } from '../../src/store/device-state.ts';

/** Fields of a rule that differ from `x > 80`, or from a bare one on missing data; `off` devices. */
export type Fields = { off?: string[]; [field: string]: unknown };

/**
 * What happens to one device, `pump_1`, one after the other. An object or a list are the rules from
 * here on, null is none, and text is, apart by spaces and in seconds:
 *
 * - `5=81`    a reading of x = 81 that arrives at 5 and is dated so; `5` is one without an x
 * - `9@4=81`  a reading that arrives at 9, dated 4
 * - `~60`     a look at the silent devices when the log has come to 60
 * - `!50`     the log, interrupted, takes records again from 50 on
 * - `s70`     a sweep after a change of the rules, when the log has come to 70
 */
export type Happening = string | Fields | Fields[] | null;

/** Name, what happens, and the transitions of it. */
type Case = [name: string, happenings: Happening[], transitions: string];

export function cases(about: string, table: readonly Case[]): void {
  describe(about, () => {
    for (const [name, happenings, transitions] of table) {
      test(name, () => expect(story(...happenings)).toBe(transitions));
    }
  });
}

interface Told {
  transitions: Transition[];
  state: DeviceState | undefined;
}

const USER = 'ann';
const DEVICE = 'pump_1';
/** Event times are not negative. */
const BEGINNING = 1_700_000_000_000_000;

/** `fired 10 since 0, cleared 12`: the transitions, and when; with the rule's id unless it is `r`. */
export function story(...happenings: Happening[]): string {
  return tell(...happenings)
    .transitions.map((one) => {
      const id = one.type === 'FIRED' ? one.rule.id : one.ruleId;
      const name = id === 'r' ? '' : `${id} `;
      const at = seconds(one.time);
      if (one.type === 'RESOLVED') return `${name}${one.reason.toLowerCase()} ${at}`;
      const since = seconds(one.holdingSince);
      return `${name}fired ${at}${since === at ? '' : ` since ${since}`}`;
    })
    .join(', ');
}

/** The same with all that there is to know of it. */
export function tell(...happenings: Happening[]): Told {
  const transitions: Transition[] = [];
  let rules = ruleSet(0, null);
  let state: DeviceState | undefined;
  let coveredAt = 0;
  let flowingSince = 0;
  let offset = 0;

  function revised(result: { memory: DeviceState['memory']; transitions: Transition[] }): void {
    transitions.push(...result.transitions);
    if (state !== undefined) state = { ...state, memory: result.memory };
  }
  function hear(arrival: number, dated: number, value: string | undefined): void {
    const batch = createBatch();
    const record = { offset: ++offset, arrivalMs: arrival / 1_000, key: null, topic: 't' };
    const columns = { temperature: null, battery: null };
    const x = value === undefined ? undefined : parseJson(value);
    const extra = x === undefined ? null : { x };
    const key = { userId: USER, deviceId: DEVICE, time: dated, sequenceId: offset };
    addRecord(
      batch,
      { ...record, value: new Uint8Array() },
      {
        ok: true,
        topic: 't',
        device: deviceKey(key),
        extraText: null,
        reading: { ...key, columns, extra },
      },
      {
        partition: 0,
        watermark: -1,
        coveredAt,
        maxClockSkew: 300_000_000,
        stateOf: () => state,
        rules: new Map([[USER, rules]]),
      },
    );
    coveredAt = Math.max(coveredAt, batch.coveredAt);
    transitions.push(...batch.transitions);
    state = [...batch.devices.values()][0] as DeviceState;
  }
  function happen(text: string): void {
    const [, sign, first, dated, value] = /^([~!s]?)([\d.]+)(?:@([\d.]+))?(?:=(.+))?$/.exec(
      text,
    ) as RegExpExecArray;
    const at = micros(first);
    if (sign === '') {
      hear(at, dated === undefined ? at : micros(dated), value);
      return;
    }
    coveredAt = Math.max(coveredAt, at);
    if (sign === '!') flowingSince = at;
    if (state === undefined) return;
    const clock = { at, flowingSince, partition: 0, offset };
    if (sign === '~') revised(silence(state.memory, state, rules, clock));
    if (sign === 's') revised(reconcile(state.memory, state, rules, at - state.lastArrivalAt));
  }

  for (const happening of happenings) {
    if (typeof happening === 'string') for (const text of happening.split(' ')) happen(text);
    else rules = ruleSet(rules.version + 1, happening);
  }
  return { transitions, state };
}

function ruleSet(version: number, given: Fields | Fields[] | null): RuleSet {
  const all = given === null ? [] : Array.isArray(given) ? given : [given];
  const rules = all.map(({ off: _, ...fields }) => ({
    id: 'r',
    ...('noData' in fields ? {} : { key: 'x', operator: '>', threshold: 80 }),
    message: 'm',
    ...fields,
  }));
  const disabled = Object.fromEntries(all.map(({ id = 'r', off = [] }) => [id, off]));
  const parsed = parseConfig({ rules, disabled }, model);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.issues));
  const content = mergeConfig(NO_CONTENT, parsed.config, model);
  return toRuleSet({ userId: USER, version, content, model });
}

const micros = (text: string | undefined) => BEGINNING + Math.round(Number(text) * 1e6);
const seconds = (time: number) => (time - BEGINNING) / 1e6;
