import type { AlertRow } from '../store/alert-columns.ts';
import { alertsById } from '../store/alerts-by-id.ts';
import type { Builder } from './builder.ts';
import { requestLoader } from './request-loader.ts';
import { ruleSetLoader } from './rule-set.ts';
import { maySee } from './viewer.ts';

/** Null where there is no such alert. */
export const alertLoader = requestLoader<string, AlertRow | null>(
  async (ids, { sql }) => {
    const rows = await alertsById(sql, ids);
    const byId = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => byId.get(id) ?? null);
  },
  (id) => id,
);

export function defineAlert(builder: Builder): void {
  builder.enumType('AlertStatus', {
    description: 'How an alert stands.',
    values: {
      FIRING: { description: 'It has begun, and is not over: also while it waits for `clear`.' },
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
  defineOne(builder);
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
        description: 'Of the newest reading that found the rule holding; null for silence.',
      }),
      startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When it fired.' }),
      lastSeenAt: t.expose('lastSeenAt', {
        type: 'DateTime',
        description: 'Time of the newest reading that found the rule holding.',
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

function defineOne(builder: Builder): void {
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
