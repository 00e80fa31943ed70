import type { Model } from '../domain/model.ts';
import { fieldName } from '../domain/model-names.ts';
import type { Rule } from '../domain/rule.ts';
import {
  mergeConfig,
  type RuleContent,
  reservedIds,
  withDisabled,
} from '../domain/rule-content.ts';
import { assignIds } from '../domain/rule-ids.ts';
import { isTopicName } from '../domain/topic.ts';
import { changeRules } from '../store/change-rules.ts';
import { type RuleConfig, readRuleConfigs } from '../store/read-rule-configs.ts';
import type { Builder } from './builder.ts';
import type { Context } from './context.ts';
import { apiError, badArgument, badUserInput } from './errors.ts';
import { forgetLoaded, requestLoader } from './request-loader.ts';
import { argumentIssue, configOf } from './rule-input.ts';
import { actorOf, subjectUser } from './viewer.ts';

export interface UserRuleSet extends RuleConfig {
  userId: string;
}

/** A user without a config has one at version 0, without rules. */
export const ruleSetLoader = requestLoader<string, UserRuleSet>(
  async (userIds, { sql, model }) => {
    const configs = await readRuleConfigs(sql, { userIds, model });
    return userIds.map((userId) => {
      const config = configs.get(userId) as RuleConfig;
      return { ...config, userId };
    });
  },
  (userId) => userId,
);

export function defineRuleSet(builder: Builder, model: Model): void {
  builder.objectType('RuleSet', {
    description: "A user's rules in force.",
    fields: (t) => ({
      userId: t.exposeID('userId', { description: 'Whose they are.' }),
      version: t.int({
        description: 'Grows with every change; 0 where the user never had rules.',
        resolve: ({ ruleSet }) => ruleSet.version,
      }),
      rules: t.field({
        type: ['Rule'],
        description: 'As given, without those of the shorthands.',
        resolve: ({ ruleSet }) => ruleSet.rules.map((rule) => ({ rule, ruleSet })),
      }),
      updatedAt: t.field({
        type: 'DateTime',
        description: 'The epoch at version 0.',
        resolve: ({ updatedAt }) => updatedAt ?? 0,
      }),
      updatedBy: t.string({
        description: 'Empty at version 0.',
        resolve: ({ updatedBy }) => updatedBy ?? '',
      }),
      issues: t.field({
        type: ['Issue'],
        description: 'Faults of the newest version, where it was refused and this one stays.',
        resolve: ({ issues }) => issues,
      }),
    }),
  });
  for (const name of Object.keys(model.shorthands)) {
    builder.objectField('RuleSet', fieldName(name), (t) =>
      t.float({
        nullable: true,
        description: `Stands for the rule ${ruleOf(model, name)}; null where it is not set.`,
        resolve: ({ ruleSet }) => ruleSet.shorthands[name] ?? null,
      }),
    );
  }
  builder.objectField('User', 'ruleSet', (t) =>
    t.field({
      type: 'RuleSet',
      description: 'The rules in force.',
      resolve: (user, _, context) => ruleSetLoader(context).load(user.id),
    }),
  );
  defineSetRules(builder, model);
  defineOneRule(builder);
}

export const EXPECTED_VERSION = 'CONFLICT where another version is in force.';
const WHOSE = 'Whose rules; those of the caller where it is left out.';

/** `temperature > 80`, without the figure. */
function ruleOf(model: Model, shorthand: string): string {
  const rule = model.shorthands[shorthand];
  return rule === undefined ? shorthand : `${rule.key} ${rule.operator} ${fieldName(shorthand)}`;
}

function defineSetRules(builder: Builder, model: Model): void {
  builder.mutationField('setRules', (t) =>
    t.field({
      type: 'RuleSet',
      description: 'What is absent stays as it was; a shorthand that is null is removed.',
      args: {
        userId: t.arg.id({ description: WHOSE }),
        ...Object.fromEntries(
          Object.keys(model.shorthands).map((name) => [
            fieldName(name),
            t.arg.float({ description: `For the rule ${ruleOf(model, name)}; null removes it.` }),
          ]),
        ),
        rules: t.arg({ type: ['RuleInput'], description: 'All of them, in order.' }),
        expectedVersion: t.arg.int({ description: EXPECTED_VERSION }),
      },
      resolve: async (_, { userId, rules, expectedVersion, ...shorthands }, context) => {
        const patch = configOf({ shorthands, rules }, model);
        return await changeRuleSet(context, {
          userId,
          expectedVersion,
          rulesPath: 'rules',
          apply: (current) => mergeConfig(current, patch, model),
        });
      },
    }),
  );
}

function defineOneRule(builder: Builder): void {
  builder.mutationField('upsertRule', (t) =>
    t.field({
      type: 'RuleSet',
      description: 'Puts the rule in the place of the one with its ruleId, else behind the others.',
      args: {
        userId: t.arg.id({ description: WHOSE }),
        rule: t.arg({ type: 'RuleInput', required: true, description: 'Whole.' }),
        expectedVersion: t.arg.int({ description: EXPECTED_VERSION }),
      },
      resolve: async (_, { userId, rule: input, expectedVersion }, context) => {
        const { model } = context;
        const draft = configOf({ rules: [input] }, model, 'rule').rules?.[0];
        return await changeRuleSet(context, {
          userId,
          expectedVersion,
          rulesPath: 'rule',
          apply: (current) => {
            const drafts = draft === undefined ? [] : [draft];
            const [rule] = assignIds(drafts, current.rules, reservedIds(model));
            return rule === undefined ? current : { ...current, rules: put(rule, current.rules) };
          },
        });
      },
    }),
  );
  builder.mutationField('deleteRule', (t) =>
    t.field({
      type: 'RuleSet',
      description: 'Also the rule of a shorthand, by its id. Its open alerts end as RULE_DELETED.',
      args: {
        userId: t.arg.id({ description: WHOSE }),
        ruleId: t.arg.id({ required: true, description: "The user's own name for it." }),
        expectedVersion: t.arg.int({ description: EXPECTED_VERSION }),
      },
      resolve: async (_, { userId, ruleId, expectedVersion }, context) =>
        await changeRuleSet(context, {
          userId,
          expectedVersion,
          rulesPath: 'rule',
          apply: (current) => without(current, ruleId, context.model),
        }),
    }),
  );
}

/** In the place of the rule with its id, else at the end. */
function put(rule: Rule, rules: readonly Rule[]): Rule[] {
  const at = rules.findIndex(({ id }) => id === rule.id);
  return at < 0 ? [...rules, rule] : rules.with(at, rule);
}

/**
 * Also without what was off of it: a later rule of that id begins with nothing off.
 *
 * @throws NOT_FOUND
 */
function without(current: RuleContent, ruleId: string, model: Model): RuleContent {
  const off = Object.entries(current.disabled ?? {}).filter(([id]) => id !== ruleId);
  const shorthand = Object.entries(model.shorthands).find(([, { id }]) => id === ruleId)?.[0];
  if (shorthand !== undefined && current.shorthands[shorthand] !== undefined) {
    const { [shorthand]: _removed, ...shorthands } = current.shorthands;
    return withDisabled({ ...current, shorthands }, off);
  }
  const rules = current.rules.filter(({ id }) => id !== ruleId);
  if (rules.length < current.rules.length) return withDisabled({ ...current, rules }, off);
  throw apiError('NOT_FOUND', `there is no rule ${JSON.stringify(ruleId)}`);
}

interface Change {
  userId: string | null | undefined;
  expectedVersion: number | null | undefined;
  rulesPath: 'rules' | 'rule';
  apply: (current: RuleContent) => RuleContent;
}

/** @throws NOT_FOUND, BAD_USER_INPUT, CONFLICT (with the version in force) */
export async function changeRuleSet(context: Context, request: Change): Promise<UserRuleSet> {
  const { sql, model } = context;
  const userId = subjectUser(context, request.userId);
  if (!isTopicName(userId)) {
    throw badArgument('userId', 'a user name is not empty and holds no / + # or NUL');
  }
  const result = await changeRules(sql, {
    userId,
    change: request.apply,
    expectedVersion: request.expectedVersion,
    actor: actorOf(context),
    model,
  });
  switch (result.kind) {
    case 'conflict':
      throw apiError(
        'CONFLICT',
        `version ${result.version} is in force, not ${request.expectedVersion}; read the rules ` +
          'again and repeat the change on them',
        { version: result.version },
      );
    case 'invalid':
      throw badUserInput(
        result.issues.map((issue) => argumentIssue(issue, model, request.rulesPath)),
      );
    case 'ok':
      context.rules.poke();
      forgetLoaded(context);
      return await ruleSetLoader(context).load(userId);
  }
}
