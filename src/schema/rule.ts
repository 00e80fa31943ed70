import type { Rule } from '../domain/rule.ts';
import type { Builder } from './builder.ts';
import { globalId } from './device.ts';

/** A rule with its user. */
export type RuleOf<R extends Rule> = R & { userId: string };

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
  builder.enumType('RuleKind', { values: ['THRESHOLD'] as const });
  builder.objectType('Rule', {
    fields: (t) => ({
      id: t.id({ resolve: (rule) => globalId('Rule', rule.userId, rule.id) }),
      ruleId: t.id({
        description: "The user's own name for it: stable, made of key and operator if not given.",
        resolve: (rule) => rule.id,
      }),
      kind: t.field({ type: 'RuleKind', resolve: () => 'THRESHOLD' as const }),
      key: t.exposeString('key', {
        nullable: true,
        description: 'A declared column, or a dotted path into the payload: `engine.rpm`.',
      }),
      operator: t.expose('operator', { type: 'Operator', nullable: true }),
      threshold: t.expose('threshold', { type: 'JSON', nullable: true }),
      message: t.exposeString('message', {
        description: 'May hold {value} {threshold} {key} {device_id}.',
      }),
      severity: t.expose('severity', { type: 'Severity' }),
      enabled: t.exposeBoolean('enabled'),
    }),
  });
}
