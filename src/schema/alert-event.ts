import type { AlertEvent } from '../domain/alert.ts';
import { SEVERITIES, type Severity } from '../domain/rule.ts';
import type { AlertRow } from '../store/alert-columns.ts';
import { alertEventRange } from '../store/alert-event-range.ts';
import { PrunedError } from '../store/alert-event-tail.ts';
import { alertEventsOf } from '../store/alert-events-of.ts';
import { alertLoader } from './alert.ts';
import { asksForNamesOnly } from './alert-names.ts';
import type { Builder } from './builder.ts';
import type { Context } from './context.ts';
import { apiError } from './errors.ts';
import { requestLoader } from './request-loader.ts';
import { delivered, deliveries } from './subscription.ts';
import { subjectUserOrAll } from './viewer.ts';

/** All events of an alert, by seq. */
const eventsLoader = requestLoader<string, AlertEvent[]>(
  async (alertIds, { sql }) => {
    const events = await alertEventsOf(sql, alertIds);
    const byAlert = Map.groupBy(events, (event) => event.alertId);
    return alertIds.map((id) => byAlert.get(id) ?? []);
  },
  (id) => id,
);

export function defineAlertEvent(builder: Builder): void {
  builder.enumType('AlertEventType', {
    description: 'What happened to an alert.',
    values: {
      FIRED: { description: 'It began.' },
      RESOLVED: { description: 'It is over.' },
      ACKNOWLEDGED: { description: 'Somebody took note of it.' },
      SNOOZED: { description: 'Its rule keeps quiet on this device for a while.' },
      UNSNOOZED: { description: 'A snooze was taken back.' },
      REMINDED: { description: 'It was firing still when a snooze ended.' },
    },
  });
  builder.objectType('AlertEvent', {
    description: 'A transition as it was then; `alert` is as it was when it was sent, to a second.',
    fields: (t) => ({
      seq: t.expose('seq', {
        type: 'SafeInt',
        description: 'Grows in the order of commits, with holes. Pass it as `after` to resume.',
      }),
      type: t.expose('type', { type: 'AlertEventType', description: 'What happened.' }),
      status: t.expose('status', { type: 'AlertStatus', description: 'Of the alert, after it.' }),
      time: t.expose('time', {
        type: 'DateTime',
        description: 'Event time of FIRED and RESOLVED; of all others when it was done.',
      }),
      value: t.expose('value', {
        type: 'JSON',
        nullable: true,
        description: 'Of the reading that the rule looked at.',
      }),
      message: t.exposeString('message', {
        description: 'Of the rule, with its values filled in.',
      }),
      actor: t.exposeString('actor', {
        nullable: true,
        description: 'Who did it: a user, `operator` or `mqtt`; null where nobody did.',
      }),
      snoozedUntil: t.expose('snoozedUntil', {
        type: 'DateTime',
        nullable: true,
        description: 'Of SNOOZED: until when.',
      }),
      muted: t.exposeBoolean('muted', {
        description:
          'Not sent by MQTT, as its episode began while snoozed; from UNSNOOZED or REMINDED on it is.',
      }),
      alert: t.field({
        type: 'Alert',
        description: 'As it is now.',
        resolve: async (event, _, context, info) => {
          if (asksForNamesOnly(info)) return namesOf(event);
          const isPush = info.operation.operation === 'subscription';
          const alert = isPush
            ? await context.presentAlerts.load(event)
            : await alertLoader(context).load(event.alertId);
          if (alert !== null) return alert;
          throw apiError('NOT_FOUND', 'the alert of this event is past its retention');
        },
      }),
    }),
  });
  builder.objectField('Alert', 'events', (t) =>
    t.field({
      type: ['AlertEvent'],
      description: 'All that happened to it, by `seq`.',
      resolve: (alert, _, context) => eventsLoader(context).load(alert.id),
    }),
  );
  definePush(builder);
}

/** Nothing else of it is looked at. */
function namesOf({ alertId: id, userId, deviceId, ruleId }: AlertEvent): AlertRow {
  return { id, userId, deviceId, ruleId } as AlertRow;
}

function definePush(builder: Builder): void {
  builder.subscriptionField('alertEvents', (t) =>
    t.field({
      type: 'AlertEvent',
      description:
        'The backlog after `after`, then live, without a gap; without `after`, live only. An ' +
        '`after` older than retention or above the newest seq is OUT_OF_RANGE, never silence. ' +
        'Without userId an operator gets all users.',
      args: {
        userId: t.arg.id({ description: 'Left out: the caller.' }),
        after: t.arg({
          type: 'SafeInt',
          description: 'The `seq` of the last event that is known.',
        }),
        deviceId: t.arg.id({ description: 'Of this device only.' }),
        minSeverity: t.arg({ type: 'Severity', description: 'This one and above.' }),
      },
      subscribe: async (_, args, context) => {
        const filter = {
          userId: subjectUserOrAll(context, args.userId),
          deviceId: args.deviceId ?? null,
          lowest: args.minSeverity == null ? 0 : SEVERITIES.indexOf(args.minSeverity as Severity),
        };
        const after = await startingSeq(context, args.after ?? null);
        return deliveries(context, (signal) => follow(context, filter, after, signal));
      },
      resolve: (delivery) => delivered(delivery),
    }),
  );
}

/** @throws OUT_OF_RANGE for a seq from which no gapless run of events begins */
async function startingSeq({ sql, tail }: Context, after: number | null): Promise<number> {
  const { floor, newest } = await alertEventRange(sql);
  // The tail knows a newer one where rows have vanished since.
  if (after === null) return Math.max(newest, tail.newest());
  if (after >= floor && after <= newest) return after;
  throw apiError(
    'OUT_OF_RANGE',
    `after: ${after} is not from ${floor} to ${newest}, what is stored; leave it out to follow ` +
      'from now on, and read alerts to catch up',
    { oldest: floor, newest },
  );
}

const READ_AHEAD = 500;
/** Events that are answered together: a slow subscriber's later ones tell of their alerts later. */
const SLICE = 64;

interface Filter {
  userId: string | null;
  deviceId: string | null;
  /** Index into SEVERITIES. */
  lowest: number;
}

/**
 * Pulled by its reader: a slow one holds one page and a seq, however much happens meanwhile. While
 * there is much for many, each is woken less often, for more events at a time.
 *
 * @throws UNAVAILABLE while the database is away, OUT_OF_RANGE when overtaken by retention
 */
async function* follow(
  context: Context,
  filter: Filter,
  after: number,
  signal: AbortSignal,
): AsyncIterableIterator<readonly AlertEvent[]> {
  let seq = after;
  while (true) {
    seq = await context.tail.wait(seq, signal, filter.userId);
    await context.pace.turn();
    if (signal.aborted) return;
    const { events, upTo } = await nextEvents(context, filter.userId, seq);
    const wanted = events.filter((event) => matches(event, filter));
    for (let at = 0; at < wanted.length; at += SLICE) {
      const slice = wanted.slice(at, at + SLICE);
      for (const event of slice) {
        if (event.traceparent !== null) context.tracer?.delivered(event);
      }
      yield slice;
      if (signal.aborted) return;
    }
    seq = upTo;
  }
}

/**
 * A page of what is above `seq`, and up to where it is complete.
 *
 * @throws OUT_OF_RANGE where events above `seq` are no longer stored
 */
async function nextEvents(
  { tail }: Context,
  userId: string | null,
  seq: number,
): Promise<{ events: AlertEvent[]; upTo: number }> {
  const gone = () => apiError('OUT_OF_RANGE', `events after ${seq} are no longer stored`);
  const newest = tail.newest();
  const events = await tail.read(seq, READ_AHEAD, userId).catch((error: unknown) => {
    throw error instanceof PrunedError ? gone() : error;
  });
  const last = events.at(-1)?.seq;
  // There was one: somebody has deleted it by hand, and waiting would not wait.
  if (last === undefined && userId === null && newest > seq) throw gone();
  const isAll = userId !== null && events.length < READ_AHEAD;
  return { events, upTo: isAll ? Math.max(newest, last ?? seq) : (last ?? seq) };
}

function matches(event: AlertEvent, { userId, deviceId, lowest }: Filter): boolean {
  return (
    (userId === null || event.userId === userId) &&
    (deviceId === null || event.deviceId === deviceId) &&
    SEVERITIES.indexOf(event.severity) >= lowest
  );
}
