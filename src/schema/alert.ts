import type { AlertStatus } from '../domain/alert.ts';
import { SEVERITIES, type Severity } from '../domain/rule.ts';
import { deviceKey } from '../domain/topic.ts';
import type { AlertRow } from '../store/alert-columns.ts';
import { alertCounts } from '../store/alert-counts.ts';
import { alertsById } from '../store/alerts-by-id.ts';
import {
  type AlertFilter,
  type AlertsPage,
  alertsPage,
  alertsPages,
} from '../store/alerts-page.ts';
import type { DeviceKey } from '../store/devices-by-key.ts';
import type { Builder } from './builder.ts';
import {
  AFTER,
  type Connection,
  connectionType,
  FIRST,
  page,
  pageComplexity,
} from './connection.ts';
import { checkRange } from './errors.ts';
import { requestListLoader, requestLoader } from './request-loader.ts';
import { ruleSetLoader } from './rule-set.ts';
import { maySee, ownUser, requireOperator } from './viewer.ts';

/** Null where there is no such alert. */
export const alertLoader = requestLoader<string, AlertRow | null>(
  async (ids, { sql }) => {
    const rows = await alertsById(sql, ids);
    const byId = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => byId.get(id) ?? null);
  },
  (id) => id,
);

/** The severities at or above one. */
export function severitiesFrom(lowest: Severity): Severity[] {
  return SEVERITIES.slice(SEVERITIES.indexOf(lowest));
}

export function defineAlert(builder: Builder): void {
  builder.enumType('AlertStatus', {
    description: 'How an alert stands.',
    values: {
      FIRING: { description: 'Its rule held when the device last sent a reading.' },
      RESOLVED: { description: 'It is over: `resolveReason` says why.' },
    },
  });
  builder.enumType('ResolveReason', {
    description: 'Why an alert is over.',
    values: {
      CLEARED: { description: 'A reading came for which the rule no longer holds.' },
      RULE_EDITED: { description: 'The rule asks for something else now.' },
      RULE_DELETED: { description: 'The rule is gone.' },
      RULE_DISABLED: { description: 'The rule was turned off.' },
      DEVICE_DISABLED: { description: 'The rule was turned off on this device.' },
    },
  });
  defineAlertType(builder);
  defineEvidence(builder);
  defineLists(builder);
  defineCounts(builder);
}

function defineAlertType(builder: Builder): void {
  builder.objectType('Alert', {
    description: 'One episode of a rule on a device. Times are event times.',
    fields: (t) => ({
      id: t.exposeID('id', { description: 'Its name among the alerts of all users. Opaque.' }),
      user: t.field({
        type: 'User',
        description: 'Whose it is.',
        resolve: (alert) => ({ id: alert.userId }),
      }),
      device: t.field({
        type: 'Device',
        description: 'On which it fired.',
        resolve: ({ userId, deviceId, arrivalTime }) => ({
          userId,
          deviceId,
          arrivedAt: arrivalTime,
        }),
      }),
      rule: t.field({
        type: 'Rule',
        nullable: true,
        description: 'The rule as it is now; null once it is deleted.',
        resolve: async (alert, _, context) => {
          const { ruleSet } = await ruleSetLoader(context).load(alert.userId);
          const rule = ruleSet.all.find(({ id }) => id === alert.ruleId);
          return rule === undefined ? null : { rule, ruleSet };
        },
      }),
      ruleId: t.exposeID('ruleId', { description: "The user's own name for the rule." }),
      ruleVersion: t.exposeInt('ruleVersion', {
        description: 'Version of the rules by which it fired.',
      }),
      status: t.expose('status', { type: 'AlertStatus', description: 'How it stands now.' }),
      severity: t.expose('severity', { type: 'Severity', description: 'Of the rule as it fired.' }),
      message: t.exposeString('message', {
        description: 'Of the rule, with its values filled in.',
      }),
      key: t.exposeString('key', { nullable: true, description: 'What the rule looked at.' }),
      operator: t.expose('operator', {
        type: 'Operator',
        nullable: true,
        description: 'How it compared.',
      }),
      threshold: t.expose('threshold', {
        type: 'JSON',
        nullable: true,
        description: 'What it compared with.',
      }),
      value: t.expose('value', {
        type: 'JSON',
        nullable: true,
        description: 'Of the newest reading that this episode took into account.',
      }),
      startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When it fired.' }),
      lastSeenAt: t.expose('lastSeenAt', {
        type: 'DateTime',
        description: 'Time of the newest reading that it took into account.',
      }),
      resolvedAt: t.expose('resolvedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When it was over.',
      }),
      resolveReason: t.expose('resolveReason', {
        type: 'ResolveReason',
        nullable: true,
        description: 'Why it is over.',
      }),
      acknowledgedAt: t.expose('acknowledgedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When somebody took note of it.',
      }),
      acknowledgedBy: t.exposeString('acknowledgedBy', { nullable: true, description: 'Who did.' }),
      snoozedUntil: t.expose('snoozedUntil', {
        type: 'DateTime',
        nullable: true,
        description: 'While its rule is snoozed on its device, during this episode or another.',
      }),
      evidence: t.field({
        type: 'AlertEvidence',
        description: 'What made it fire.',
        resolve: (alert) => alert,
      }),
    }),
  });
}

function defineEvidence(builder: Builder): void {
  builder.objectType('AlertEvidence', {
    description: 'What made it fire: a reading, and where it stands in the log; or silence.',
    fields: (t) => ({
      holdingSince: t.expose('holdingSince', {
        type: 'DateTime',
        description: 'Since when the rule held, or since when nothing had come.',
      }),
      partition: t.exposeInt('partition', { description: 'Of the log.' }),
      offset: t.expose('offset', {
        type: 'SafeInt',
        description: 'Of the reading; for silence, of the record whose arrival showed it.',
      }),
      sequenceId: t.expose('sequenceId', {
        type: 'SafeInt',
        nullable: true,
        description: 'Of the reading; null for silence.',
      }),
      eventTime: t.expose('eventTime', {
        type: 'DateTime',
        nullable: true,
        description: 'Of the reading; null for silence.',
      }),
      arrivalTime: t.expose('arrivalTime', {
        type: 'DateTime',
        description: 'When the reading arrived in the log; for silence, the last one before it.',
      }),
    }),
  });
}

type ListArgs = {
  status?: readonly AlertStatus[] | null;
  minSeverity?: Severity | null;
  first?: number | null;
  after?: string | null;
};

interface Owner {
  userId: string;
}

const ofUsers = requestListLoader<Owner, AlertRow, AlertsPage>(
  (users, args, { sql }) => alertsPages(sql, users, args),
  ({ userId }) => userId,
);

const ofDevices = requestListLoader<DeviceKey, AlertRow, AlertsPage>(
  (devices, args, { sql }) => alertsPages(sql, devices, args),
  deviceKey,
);

function listAlerts(
  fetch: (page: AlertsPage) => Promise<AlertRow[]>,
  filter: AlertFilter,
  args: ListArgs,
): Promise<Connection<AlertRow>> {
  const { status: statuses, minSeverity } = args;
  const severities = minSeverity == null ? null : severitiesFrom(minSeverity);
  return page<AlertRow, [number, string]>(args, {
    key: (alert) => [alert.startedAt, alert.id],
    shape: ['number', 'string'],
    fetch: (position, limit) => {
      const after = position === null ? null : { startedAt: position[0], id: position[1] };
      return fetch({ ...filter, statuses, severities, after, limit });
    },
  });
}

function defineLists(builder: Builder): void {
  const Connection = connectionType(builder, 'Alert');
  builder.objectField('User', 'alerts', (t) =>
    t.field({
      type: Connection,
      description: 'The newest start first.',
      args: {
        status: t.arg({ type: ['AlertStatus'], description: 'Left out: both.' }),
        deviceId: t.arg.id({ description: 'Of this device only.' }),
        ruleId: t.arg.id({ description: 'Of this rule only.' }),
        minSeverity: t.arg({ type: 'Severity', description: 'This one and above.' }),
        from: t.arg({ type: 'DateTime', description: 'Earliest start.' }),
        to: t.arg({ type: 'DateTime', description: 'Exclusive.' }),
        first: t.arg.int({ defaultValue: 50, description: FIRST }),
        after: t.arg.string({ description: AFTER }),
      },
      complexity: pageComplexity,
      resolve: (user, { deviceId, ruleId, from, to, ...args }, context) => {
        checkRange(from, to);
        const load = (asked: AlertsPage) => ofUsers(context, asked).load({ userId: user.id });
        return listAlerts(load, { deviceId, ruleId, from, to }, args);
      },
    }),
  );
  builder.objectField('Device', 'alerts', (t) =>
    t.field({
      type: Connection,
      description: 'Of this device; the newest start first.',
      args: {
        status: t.arg({ type: ['AlertStatus'], description: 'Left out: both.' }),
        first: t.arg.int({ defaultValue: 50, description: FIRST }),
        after: t.arg.string({ description: AFTER }),
      },
      complexity: pageComplexity,
      resolve: (device, args, context) =>
        listAlerts((asked) => ofDevices(context, asked).load(device), {}, args),
    }),
  );
  builder.queryField('alerts', (t) =>
    t.field({
      type: Connection,
      nullable: true,
      description: 'Of all users. Operators only.',
      args: {
        status: t.arg({ type: ['AlertStatus'], description: 'Left out: both.' }),
        minSeverity: t.arg({ type: 'Severity', description: 'This one and above.' }),
        first: t.arg.int({ defaultValue: 50, description: FIRST }),
        after: t.arg.string({ description: AFTER }),
      },
      complexity: pageComplexity,
      resolve: (_, args, context) => {
        requireOperator(context);
        return listAlerts((asked) => alertsPage(context.sql, asked), {}, args);
      },
    }),
  );
  builder.queryField('alert', (t) =>
    t.field({
      type: 'Alert',
      nullable: true,
      description: 'Null where there is none, or none that the caller may see.',
      args: { id: t.arg.id({ required: true, description: 'The `id` of the alert.' }) },
      resolve: async (_, { id }, context) => {
        const alert = await alertLoader(context).load(id);
        return alert !== null && maySee(context, alert.userId) ? alert : null;
      },
    }),
  );
}

function defineCounts(builder: Builder): void {
  builder.objectType('AlertCount', {
    description: 'How many alerts fire with one severity.',
    fields: (t) => ({
      severity: t.expose('severity', { type: 'Severity', description: 'Which one.' }),
      count: t.exposeInt('count', { description: 'How many.' }),
    }),
  });
  builder.queryField('alertCounts', (t) =>
    t.field({
      type: ['AlertCount'],
      description: 'Firing alerts, one entry for each severity; an operator gets all users.',
      args: { userId: t.arg.id({ description: 'Left out: the caller.' }) },
      resolve: async (_, args, context) => {
        const userId = args.userId ?? ownUser(context);
        const rows = maySee(context, userId) ? await alertCounts(context.sql, userId) : [];
        return SEVERITIES.map((severity) => ({
          severity,
          count: rows.find((row) => row.severity === severity)?.count ?? 0,
        }));
      },
    }),
  );
}
