import type { BacktestEpisode } from '../domain/backtest.ts';
import type { BacktestDay } from '../domain/backtest-tally.ts';
import type { Duration } from '../domain/duration.ts';
import { reservedIds } from '../domain/rule-content.ts';
import type { Micros } from '../domain/time.ts';
import { type Zone, zone } from '../domain/zone.ts';
import type { Builder } from './builder.ts';
import { badArgument } from './errors.ts';
import { configOf } from './rule-input.ts';
import { type Backtest, runBacktest } from './run-backtest.ts';

const UTC = zone('UTC') as Zone;
/** So that one operation has room for a few of them. */
const COMPLEXITY = { field: 10_000, multiplier: 1 };

export function defineBacktest(builder: Builder): void {
  const Result = defineResult(builder);
  builder.objectField('User', 'backtest', (t) =>
    t.field({
      type: Result,
      description:
        'What a rule would have done on stored readings, by the same code that runs live; also ' +
        'where it is not enabled. TOO_EXPENSIVE above a million readings or 1,000 devices.',
      args: {
        rule: t.arg({ type: 'RuleInput', required: true, description: 'It is not stored.' }),
        from: t.arg({ type: 'DateTime', required: true, description: 'Of the earliest reading.' }),
        to: t.arg({ type: 'DateTime', required: true, description: 'Exclusive.' }),
        deviceIds: t.arg.idList({ description: "Left out: all of the user's devices." }),
        timezone: t.arg({
          type: 'TimeZone',
          defaultValue: UTC,
          description: 'Whose calendar the days are of.',
        }),
      },
      complexity: COMPLEXITY,
      resolve: async (user, { rule, from, to, deviceIds, timezone }, context) => {
        const { ruleId = null, ...unnamed } = rule;
        // A config refuses it as the id of a rule, but here it is that of one in force.
        const isShorthand = ruleId !== null && reservedIds(context.model).includes(ruleId);
        const rules = [isShorthand ? unnamed : rule];
        const [draft] = configOf({ rules }, context.model, 'rule').rules ?? [];
        if (draft === undefined) throw badArgument('rule', 'is missing');
        if (to <= from) throw badArgument('to', 'has to be later than from');
        return await runBacktest(context, {
          userId: user.id,
          draft,
          ruleId,
          from,
          to,
          deviceIds: deviceIds ?? null,
          timezone: timezone ?? UTC,
        });
      },
    }),
  );
}

function defineResult(builder: Builder) {
  const Episode = defineEpisode(builder);
  const Day = defineDay(builder);
  return builder.objectRef<Backtest>('Backtest').implement({
    description: 'What a rule would have done.',
    fields: (t) => ({
      readings: t.exposeInt('readings', { description: 'Stored readings that were judged.' }),
      devices: t.exposeInt('devices', { description: 'Devices that the rule takes.' }),
      episodes: t.expose('episodes', {
        type: [Episode],
        description: 'By device and start; at most 1,000. episodeCount counts all of them.',
      }),
      episodeCount: t.exposeInt('episodeCount', { description: 'Alerts there would have been.' }),
      days: t.expose('days', {
        type: [Day],
        description: 'How often on each day; days without are left out.',
      }),
      firing: t.field({
        type: 'Duration',
        description: 'How long in all, summed up over the devices.',
        resolve: ({ firing }) => lasting(firing),
      }),
      firingAtEnd: t.exposeInt('firingAtEnd', {
        description: 'Devices on which it still fires at the end: at `to`, or now.',
      }),
      liveEpisodes: t.exposeInt('liveEpisodes', {
        nullable: true,
        description:
          'Alerts that the rule in force with this ruleId did raise in the range; null where ' +
          'there is none, and where no ruleId is given.',
      }),
      notes: t.exposeStringList('notes', {
        description: 'In what it may differ from what happened live.',
      }),
    }),
  });
}

function defineEpisode(builder: Builder) {
  return builder.objectRef<BacktestEpisode>('BacktestEpisode').implement({
    description: 'An alert that would have been. Times are event times.',
    fields: (t) => ({
      deviceId: t.exposeID('deviceId', { description: "The user's own name for the device." }),
      startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When it fired.' }),
      holdingSince: t.expose('holdingSince', {
        type: 'DateTime',
        description: 'Since when the rule held then, or since when nothing had come.',
      }),
      resolvedAt: t.expose('resolvedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'Null where it still fires at the end.',
      }),
      lastSeenAt: t.expose('lastSeenAt', {
        type: 'DateTime',
        description: 'The last reading that found it holding.',
      }),
      duration: t.field({
        type: 'Duration',
        nullable: true,
        description: 'From startedAt to resolvedAt; null where it still fires.',
        resolve: ({ startedAt, resolvedAt }) =>
          resolvedAt === null ? null : lasting(resolvedAt - startedAt),
      }),
      value: t.expose('value', {
        type: 'JSON',
        nullable: true,
        description: 'Of the reading that made it fire; null for silence.',
      }),
      message: t.exposeString('message', { description: 'As the alert would have said it.' }),
    }),
  });
}

function defineDay(builder: Builder) {
  return builder.objectRef<BacktestDay>('BacktestDay').implement({
    description: 'A calendar day in the timezone that was asked for.',
    fields: (t) => ({
      day: t.exposeString('day', { description: '`2026-01-31`.' }),
      count: t.exposeInt('count', { description: 'Episodes that began on it.' }),
      firing: t.field({
        type: 'Duration',
        description: 'How long it fired on this day, summed up over the devices.',
        resolve: ({ firing }) => lasting(firing),
      }),
    }),
  });
}

function lasting(micros: Micros): Duration {
  return { months: 0, days: 0, micros };
}
