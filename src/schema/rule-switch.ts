import { switchRule } from '../domain/rule-switch.ts';
import type { Builder } from './builder.ts';
import { apiError } from './errors.ts';
import { changeRuleSet, EXPECTED_VERSION } from './rule-set.ts';

export function defineRuleSwitch(builder: Builder): void {
  builder.mutationField('setRuleEnabled', (t) =>
    t.field({
      type: 'RuleSet',
      description:
        'Turns a rule on or off, on one device or altogether; the two are apart. Off, its alerts end ' +
        'with RULE_DISABLED or DEVICE_DISABLED; on again, the next reading decides.',
      args: {
        userId: t.arg.id({ description: 'Left out: the caller.' }),
        ruleId: t.arg.id({ required: true, description: 'Also that of a shorthand.' }),
        deviceId: t.arg.id({ description: 'Also of a device not seen yet.' }),
        enabled: t.arg.boolean({ required: true, description: 'On, or off.' }),
        expectedVersion: t.arg.int({ description: EXPECTED_VERSION }),
      },
      resolve: async (_, { userId, ruleId, deviceId, enabled, expectedVersion }, context) =>
        await changeRuleSet(context, {
          userId,
          expectedVersion,
          rulesPath: 'rule',
          apply: (current) => {
            const operation = { ruleId, deviceId: deviceId ?? null, enabled };
            const switched = switchRule(current, operation, context.model);
            if (switched !== null) return switched;
            throw apiError('NOT_FOUND', `there is no rule ${JSON.stringify(ruleId)}`);
          },
        }),
    }),
  );
}
