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
  builder.enumType('Operator', {
    values: {
      GT: { value: '>' },
      LT: { value: '<' },
      GTE: { value: '>=' },
      LTE: { value: '<=' },
      EQ: { value: '==' },
      NE: { value: '!=' },
    } as const,
  });
  builder.enumType('Severity', { values: ['INFO', 'WARNING', 'CRITICAL'] as const });
  builder.enumType('RuleKind', { values: ['THRESHOLD', 'NO_DATA'] as const });
  defineClear(builder);
  builder.objectType('Rule', {
    fields: (t) => ({
      id: t.id({ resolve: ({ rule, ruleSet }) => globalId('Rule', ruleSet.userId, rule.id) }),
      ruleId: t.id({
        description: "The user's own name for it: stable, made of key and operator if not given.",
        resolve: ({ rule }) => rule.id,
      }),
      kind: t.field({
        type: 'RuleKind',
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
        resolve: ({ rule }) => (isNoData(rule) ? null : rule.operator),
      }),
      threshold: t.field({
        type: 'JSON',
        nullable: true,
        resolve: ({ rule }) => (isNoData(rule) ? null : rule.threshold),
      }),
      message: t.string({
        description: 'May hold {value} {threshold} {key} {device_id}.',
        resolve: ({ rule }) => rule.message,
      }),
      severity: t.field({ type: 'Severity', resolve: ({ rule }) => rule.severity }),
      for: t.field({
        type: 'Duration',
        nullable: true,
        description: 'How long it must hold before it fires, in event time.',
        resolve: ({ rule }) => (isNoData(rule) ? null : durationOf(rule.for)),
      }),
      clear: t.field({
        type: 'Clear',
        nullable: true,
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
      enabled: t.boolean({ resolve: ({ rule }) => rule.enabled }),
      disabledDevices: t.idList({
        description: 'Devices on which it is off.',
        resolve: ({ rule, ruleSet }) => [...disabledDevices(ruleSet, rule.id)],
      }),
    }),
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
