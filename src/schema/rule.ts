import { type Duration, parseDuration } from '../domain/duration.ts';
import { isNoData, type Rule, type RuleSet } from '../domain/rule.ts';
import { disabledDevices } from '../domain/rule-content.ts';
import type { Builder } from './builder.ts';
import { globalId } from './device.ts';

export type RuleKind = 'THRESHOLD' | 'NO_DATA';

/** A rule with the set that it stands in. */
export interface RuleInSet {
  rule: Rule;
  ruleSet: RuleSet;
}

export function defineRule(builder: Builder): void {
  defineEnums(builder);
  defineClear(builder);
  builder.objectType('Rule', {
    description: "One of a user's rules, as it is in force.",
    fields: (t) => ({
      id: t.id({
        description: 'Unique among all rules of all users, and opaque.',
        resolve: ({ rule, ruleSet }) => globalId('Rule', ruleSet.userId, rule.id),
      }),
      ruleId: t.id({
        description: "The user's own name for it: stable, made of key and operator if not given.",
        resolve: ({ rule }) => rule.id,
      }),
      kind: t.field({
        type: 'RuleKind',
        description: 'What it looks at.',
        resolve: ({ rule }) => (isNoData(rule) ? 'NO_DATA' : 'THRESHOLD'),
      }),
      key: t.string({
        nullable: true,
        description: 'A declared column, or a dotted path into the payload: `engine.rpm`.',
        resolve: ({ rule }) => (isNoData(rule) ? null : rule.key),
      }),
      operator: t.field({
        type: 'Operator',
        nullable: true,
        description: 'How the value is compared with the threshold; null for kind NO_DATA.',
        resolve: ({ rule }) => (isNoData(rule) ? null : rule.operator),
      }),
      threshold: t.field({
        type: 'JSON',
        nullable: true,
        description: 'A number; with EQ and NE also text or a boolean; null for kind NO_DATA.',
        resolve: ({ rule }) => (isNoData(rule) ? null : rule.threshold),
      }),
      message: t.string({
        description: 'May hold {value} {threshold} {key} {device_id}.',
        resolve: ({ rule }) => rule.message,
      }),
      severity: t.field({
        type: 'Severity',
        description: 'Of its alerts.',
        resolve: ({ rule }) => rule.severity,
      }),
      for: t.field({
        type: 'Duration',
        nullable: true,
        description: 'How long it must hold before it fires, in event time.',
        resolve: ({ rule }) => (isNoData(rule) ? null : durationOf(rule.for)),
      }),
      clear: t.field({
        type: 'Clear',
        nullable: true,
        description: 'Null where an alert ends with the first reading for which it does not hold.',
        resolve: ({ rule }) => (isNoData(rule) ? null : rule.clear),
      }),
      noData: t.field({
        type: 'Duration',
        nullable: true,
        description: 'Fires when nothing has arrived from a device for so long.',
        resolve: ({ rule }) => (isNoData(rule) ? durationOf(rule.noData) : null),
      }),
      devices: t.string({
        nullable: true,
        description: 'A glob of device ids, with * and ?; null for all.',
        resolve: ({ rule }) => rule.devices,
      }),
      enabled: t.boolean({
        description: 'False: it is kept, and not evaluated.',
        resolve: ({ rule }) => rule.enabled,
      }),
      disabledDevices: t.idList({
        description: 'Devices on which it is off.',
        resolve: ({ rule, ruleSet }) => [...disabledDevices(ruleSet, rule.id)],
      }),
    }),
  });
}

function defineEnums(builder: Builder): void {
  builder.enumType('Operator', {
    description: 'Compares the value of a reading with the threshold of a rule.',
    values: {
      GT: { value: '>', description: '`>` in JSON.' },
      LT: { value: '<', description: '`<` in JSON.' },
      GTE: { value: '>=', description: '`>=` in JSON.' },
      LTE: { value: '<=', description: '`<=` in JSON.' },
      EQ: { value: '==', description: '`==` in JSON; also for text and booleans.' },
      NE: { value: '!=', description: '`!=` in JSON; also for text and booleans.' },
    } as const,
  });
  builder.enumType('Severity', {
    description: 'How bad an alert is, in rising order.',
    values: {
      INFO: { description: 'Good to know.' },
      WARNING: { description: 'What a rule has unless told otherwise.' },
      CRITICAL: { description: 'The worst.' },
    } as const,
  });
  builder.enumType('RuleKind', {
    description: 'What a rule looks at.',
    values: {
      THRESHOLD: { description: 'A value of each reading.' },
      NO_DATA: { description: 'That nothing arrives from a device.' },
    } as const,
  });
}

function defineClear(builder: Builder): void {
  builder.objectType('Clear', {
    description: 'What it takes for an alert to end, beyond that the rule does not hold.',
    fields: (t) => ({
      threshold: t.field({
        type: 'JSON',
        nullable: true,
        description: 'The alert goes on until the value has passed this one.',
        resolve: (clear) => clear.threshold,
      }),
      for: t.field({
        type: 'Duration',
        nullable: true,
        description: 'And until it has been so for this long, in event time.',
        resolve: (clear) => durationOf(clear.for),
      }),
    }),
  });
}

function durationOf(text: string | undefined): Duration | null {
  return text === undefined ? null : parseDuration(text);
}
