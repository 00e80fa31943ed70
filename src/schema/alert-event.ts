import type { AlertEvent } from '../domain/alert.ts';
import { SEVERITIES, type Severity } from '../domain/rule.ts';
import type { AlertRow } from '../store/alert-columns.ts';
import { alertEventRange } from '../store/alert-event-range.ts';
import { PrunedError } from '../store/alert-event-tail.ts';
import { alertEventsOf } from '../store/alert-events-of.ts';
import { alertEventsOfUser } from '../store/alert-events-of-user.ts';
import { alertsById } from '../store/alerts-by-id.ts';
import { alertLoader } from './alert.ts';
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
    values: ['FIRED', 'RESOLVED', 'ACKNOWLEDGED', 'SNOOZED', 'UNSNOOZED', 'REMINDED'] as const,
  });
  builder.objectType('AlertEvent', {
    description: 'A transition as it was then; `alert` is as it is now.',
    fields: (t) => ({
      seq: t.expose('seq', {
        type: 'SafeInt',
        description: 'Grows in the order of commits, with holes. Pass it as `after` to resume.',
      }),
      type: t.expose('type', { type: 'AlertEventType' }),
      status: t.expose('status', { type: 'AlertStatus' }),
      time: t.expose('time', { type: 'DateTime' }),
      value: t.expose('value', { type: 'JSON', nullable: true }),
      message: t.exposeString('message'),
      actor: t.exposeString('actor', { nullable: true }),
      alert: t.field({
        type: 'Alert',
        resolve: async (event, _, context) => {
          const alert = await alertLoader(context).load(event.alertId);
          if (alert !== null) return alert;
          throw apiError('NOT_FOUND', 'the alert of this event is past its retention');
        },
      }),
    }),
  });
  builder.objectField('Alert', 'events', (t) =>
    t.field({
      type: ['AlertEvent'],
      resolve: (alert, _, context) => eventsLoader(context).load(alert.id),
    }),
  );
  definePush(builder);
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
        userId: t.arg.id(),
        after: t.arg({ type: 'SafeInt' }),
        deviceId: t.arg.id(),
        minSeverity: t.arg({ type: 'Severity' }),
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
      resolve: (delivery, _, context) => {
        const { event, alert } = delivered(delivery, context);
        if (alert !== null) alertLoader(context).prime(event.alertId, alert);
        return event;
      },
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
/** Alerts are read for many events at once; what was read longer ago is read anew. */
const PRESENT_MS = 250;

/** An event with its alert as it is now; null where retention has taken that. */
interface Followed {
  event: AlertEvent;
  alert: AlertRow | null;
}

interface Filter {
  userId: string | null;
  deviceId: string | null;
  /** Index into SEVERITIES. */
  lowest: number;
}

/**
 * Pulled by its reader: a slow one holds one page and a seq, however much happens meanwhile.
 *
 * @throws UNAVAILABLE while the database is away, OUT_OF_RANGE when overtaken by retention
 */
async function* follow(
  context: Context,
  filter: Filter,
  after: number,
  signal: AbortSignal,
): AsyncIterableIterator<Followed> {
  let seq = after;
  while (true) {
    await context.tail.wait(seq, signal);
    if (signal.aborted) return;
    const { events, upTo } = await nextEvents(context, filter.userId, seq);
    const wanted = events.filter((event) => matches(event, filter));
    let alerts = new Map<string, AlertRow>();
    let readAt = Number.NEGATIVE_INFINITY;
    for (const [index, event] of wanted.entries()) {
      if (performance.now() - readAt > PRESENT_MS) {
        const ids = new Set(wanted.slice(index).map((later) => later.alertId));
        readAt = performance.now();
        const present = await alertsById(context.sql, [...ids]);
        alerts = new Map(present.map((alert) => [alert.id, alert]));
      }
      yield { event, alert: alerts.get(event.alertId) ?? null };
      if (signal.aborted) return;
    }
    seq = upTo;
  }
}

/**
 * A page of what is above `seq`, and up to where it is complete. One user's events are picked by
 * the database while far behind; near the end they are picked out of what the tail holds anyway.
 *
 * @throws OUT_OF_RANGE where events above `seq` are no longer stored
 */
async function nextEvents(
  { tail, sql }: Context,
  userId: string | null,
  seq: number,
): Promise<{ events: AlertEvent[]; upTo: number }> {
  const gone = () => apiError('OUT_OF_RANGE', `events after ${seq} are no longer stored`);
  const newest = tail.newest();
  if (userId !== null && newest - seq > READ_AHEAD) {
    const range = { userId, after: seq, upTo: newest, limit: READ_AHEAD };
    const events = await alertEventsOfUser(sql, range);
    // Looked at last: what was deleted before the read is below the floor by then.
    if (seq < (await alertEventRange(sql)).floor) throw gone();
    const isAll = events.length < READ_AHEAD;
    return { events, upTo: isAll ? newest : (events.at(-1) as AlertEvent).seq };
  }
  const events = await tail.read(seq, READ_AHEAD).catch((error: unknown) => {
    throw error instanceof PrunedError ? gone() : error;
  });
  const last = events.at(-1);
  // There was one: somebody has deleted it by hand, and waiting would not wait.
  if (last === undefined && newest > seq) throw gone();
  return { events, upTo: last?.seq ?? seq };
}

function matches(event: AlertEvent, { userId, deviceId, lowest }: Filter): boolean {
  return (
    (userId === null || event.userId === userId) &&
    (deviceId === null || event.deviceId === deviceId) &&
    SEVERITIES.indexOf(event.severity) >= lowest
  );
}
