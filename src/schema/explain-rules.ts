import { NO_MEMORY, type RuleState } from '../domain/alert.ts';
import {
  type ExplainedDevice,
  type Explanation,
  explain,
  lateReadings,
  RULE_STATUSES,
} from '../domain/explain.ts';
import type { Reading } from '../domain/reading.ts';
import { reconcile } from '../domain/reconcile.ts';
import { NO_READING } from '../domain/reset-clock.ts';
import { isNoData, type Rule, type RuleSet } from '../domain/rule.ts';
import { formatMicros, type Micros } from '../domain/time.ts';
import { deviceKey } from '../domain/topic.ts';
import type { AlertRow } from '../store/alert-columns.ts';
import { type DeviceState, loadDeviceStates } from '../store/device-state.ts';
import type { DeviceKey } from '../store/devices-by-key.ts';
import { type LogClock, logClocks } from '../store/log-clocks.ts';
import { type ReadingKey, readingsByKey } from '../store/readings-by-key.ts';
import { type Snooze, snoozesOf } from '../store/snoozes-of.ts';
import { alertLoader } from './alert.ts';
import type { Builder } from './builder.ts';
import type { Context } from './context.ts';
import { requestLoader } from './request-loader.ts';
import { ruleSetLoader } from './rule-set.ts';

/** One rule on one device. */
export interface RuleExplanation extends Explanation {
  rule: Rule;
  ruleSet: RuleSet;
  reading: Reading | null;
  alert: AlertRow | null;
  snoozedUntil: Micros | null;
  lateReadings: number;
}

const stateLoader = requestLoader<DeviceKey, DeviceState | null>(async (keys, { sql }) => {
  const states = await loadDeviceStates(sql, keys);
  const byDevice = new Map(states.map((state) => [deviceKey(state), state]));
  return keys.map((key) => byDevice.get(deviceKey(key)) ?? null);
}, deviceKey);

const snoozeLoader = requestLoader<DeviceKey, Snooze[]>(async (keys, { sql }) => {
  const byDevice = Map.groupBy(await snoozesOf(sql, keys), deviceKey);
  return keys.map((key) => byDevice.get(deviceKey(key)) ?? []);
}, deviceKey);

const readingKey = (key: ReadingKey) => `${key.time}/${key.sequenceId}/${deviceKey(key)}`;

/** Null where the reading is past its retention. */
const readingLoader = requestLoader<ReadingKey, Reading | null>(async (keys, { sql, model }) => {
  const readings = await readingsByKey(sql, model, keys);
  const byKey = new Map(readings.map((reading) => [readingKey(reading), reading]));
  return keys.map((key) => byKey.get(readingKey(key)) ?? null);
}, readingKey);

const clocksLoader = requestLoader<'all', LogClock[]>(
  async (keys, { sql }) => {
    const clocks = await logClocks(sql);
    return keys.map(() => clocks);
  },
  (key) => key,
);

export function defineExplainRules(builder: Builder): void {
  const Status = builder.enumType('RuleStatus', {
    description: 'How a rule stands on a device.',
    values: Object.fromEntries(RULE_STATUSES.map((name) => [name, { description: MEANING[name] }])),
  });
  const Type = builder.objectRef<RuleExplanation>('RuleExplanation').implement({
    description: 'How a rule stands on a device at this moment, and why.',
    fields: (t) => ({
      rule: t.field({ type: 'Rule', description: 'As it is in force.', resolve: (one) => one }),
      status: t.field({ type: Status, description: 'In a word.', resolve: (one) => one.status }),
      reason: t.exposeString('reason', {
        description: 'In a sentence with the figures in it; for people, its words may change.',
      }),
      since: t.expose('since', {
        type: 'DateTime',
        nullable: true,
        description: 'When it fired, or since when it holds, ceased to, or nothing has arrived.',
      }),
      value: t.expose('value', {
        type: 'JSON',
        nullable: true,
        description: 'Of the reading that last decided it.',
      }),
      reading: t.expose('reading', {
        type: 'Reading',
        nullable: true,
        description: 'That last decided it; null where none has, and past its retention.',
      }),
      lateReadings: t.exposeInt('lateReadings', {
        description: "The device's newest readings, in a row, that came too late for this rule.",
      }),
      alert: t.expose('alert', {
        type: 'Alert',
        nullable: true,
        description: 'The open one; null where it does not fire.',
      }),
      snoozedUntil: t.expose('snoozedUntil', {
        type: 'DateTime',
        nullable: true,
        description: 'When the snooze of this rule on this device ends; null where there is none.',
      }),
    }),
  });
  builder.objectField('Device', 'explainRules', (t) =>
    t.field({
      type: [Type],
      description:
        "Every rule of the device's user as it stands on the device: why it fires or does not. " +
        'Also those that are not enabled, and those of shorthands.',
      args: { ruleId: t.arg.id({ description: 'Left out: all of them.' }) },
      complexity: { field: 10, multiplier: 10 },
      resolve: (device, { ruleId }, context) => explainRules(context, device, ruleId ?? null),
    }),
  );
}

const MEANING = {
  FIRING: 'Its alert is open.',
  CLEARING: 'Its alert is open, and ends if it goes on not holding.',
  PENDING: 'It holds, but not for long enough yet.',
  OK: 'It does not hold.',
  LATE: 'The newest readings are older than what it has seen, and are left out.',
  FUTURE: 'The newest readings are dated too far ahead, and are left out.',
  NO_DATA: 'It has had nothing to judge yet.',
  DISABLED: 'It is not enabled.',
  DEVICE_DISABLED: 'It is off on this device.',
  NOT_COVERED: 'Its pattern of devices does not match this one.',
} as const;

async function explainRules(
  context: Context,
  key: DeviceKey,
  ruleId: string | null,
): Promise<RuleExplanation[]> {
  const [state, { ruleSet }, snoozes] = await Promise.all([
    stateLoader(context).load(key),
    ruleSetLoader(context).load(key.userId),
    snoozeLoader(context).load(key),
  ]);
  const device = await inLine(context, key, state, ruleSet);
  const rules = ruleSet.all.filter(({ id }) => ruleId === null || id === ruleId);
  const one = async (rule: Rule): Promise<RuleExplanation> => {
    const remembered = device.memory.rules[rule.id];
    const [reading, alert] = await Promise.all([
      readingOf(context, key, rule, remembered),
      openAlert(context, remembered),
    ]);
    const explained = explain(rule, ruleSet, device, {
      reading,
      startedAt: alert?.startedAt ?? null,
    });
    const snoozedUntil = snoozes.find((snooze) => snooze.ruleId === rule.id)?.until ?? null;
    const end = snoozedUntil === null ? '' : `; snoozed until ${formatMicros(snoozedUntil)}`;
    return {
      ...explained,
      reason: explained.reason + end,
      rule,
      ruleSet,
      reading,
      alert,
      snoozedUntil,
      lateReadings: lateReadings(device.memory, remembered),
    };
  };
  return await Promise.all(rules.map(one));
}

/** What the device remembers as its next reading will find it, though its lane may not know yet. */
async function inLine(
  context: Context,
  key: DeviceKey,
  state: DeviceState | null,
  ruleSet: RuleSet,
): Promise<ExplainedDevice> {
  const lastArrivalAt = state?.lastArrivalAt ?? null;
  const clock = ruleSet.silences.length > 0 ? await clockOf(context, state) : null;
  const silentFor = clock === null ? null : clock.at - (lastArrivalAt ?? clock.at);
  const { memory } = reconcile(state?.memory ?? NO_MEMORY, key, ruleSet, silentFor);
  return { deviceId: key.deviceId, memory, lastArrivalAt, clock };
}

/** A device of a partition that the log doesn't have falls to one of those it has. */
async function clockOf(context: Context, state: DeviceState | null): Promise<LogClock | null> {
  const clocks = await clocksLoader(context).load('all');
  const partitions = (clocks.at(-1)?.partition ?? -1) + 1;
  if (state === null || partitions === 0) return null;
  const own = state.partition % partitions;
  return clocks.find(({ partition }) => partition === own) ?? null;
}

async function readingOf(
  context: Context,
  { userId, deviceId }: DeviceKey,
  rule: Rule,
  state: RuleState | undefined,
): Promise<Reading | null> {
  if (isNoData(rule) || state === undefined || state.time === NO_READING.time) return null;
  const { time, sequenceId } = state;
  return await readingLoader(context).load({ userId, deviceId, time, sequenceId });
}

async function openAlert(context: Context, state: RuleState | undefined): Promise<AlertRow | null> {
  if (state === undefined || state.episode === null) return null;
  const alert = await alertLoader(context).load(state.episode.alertId);
  return alert?.status === 'FIRING' ? alert : null;
}
