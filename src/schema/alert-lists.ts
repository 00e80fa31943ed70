import type { AlertStatus } from '../domain/alert.ts';
import { SEVERITIES, type Severity } from '../domain/rule.ts';
import { deviceKey } from '../domain/topic.ts';
import type { AlertRow } from '../store/alert-columns.ts';
import { alertCounts } from '../store/alert-counts.ts';
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
import { requestListLoader } from './request-loader.ts';
import { maySee, ownUser, requireOperator } from './viewer.ts';

/** Alerts of a user, of a device and of all, and how many fire. */
export function defineAlertLists(builder: Builder): void {
  defineLists(builder);
  defineCounts(builder);
}

/** The severities at or above one. */
function severitiesFrom(lowest: Severity): Severity[] {
  return SEVERITIES.slice(SEVERITIES.indexOf(lowest));
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
