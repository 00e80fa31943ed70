import type { Operator, Scalar } from '../domain/rule.ts';
import type { Api } from './api.ts';

/** What the load test asks of rules, one operation each. */

export const OPERATOR_NAMES: Record<Operator, string> = {
  '>': 'GT',
  '<': 'LT',
  '>=': 'GTE',
  '<=': 'LTE',
  '==': 'EQ',
  '!=': 'NE',
};

export interface RuleInput {
  ruleId?: string;
  key: string;
  operator: Operator;
  threshold: Scalar;
  message: string;
  severity?: string;
  devices?: string;
}

/** A rule in force. */
export interface StoredRule {
  ruleId: string;
  key: string | null;
  operator: Operator | null;
  threshold: unknown;
}

const RULES = 'rules { ruleId key operator threshold enabled }';

interface RulesAnswer {
  rules: {
    ruleId: string;
    key: string | null;
    operator: string | null;
    threshold: unknown;
    enabled: boolean;
  }[];
}

/** Sets a user's rules; what is left out stays as it was. `shorthands`: by their GraphQL names. */
export async function setRules(
  api: Api,
  options: { userId: string; shorthands?: Record<string, unknown>; rules: readonly RuleInput[] },
): Promise<StoredRule[]> {
  const { userId, shorthands = {} } = options;
  const names = Object.keys(shorthands);
  const { setRules } = await api.query<{ setRules: RulesAnswer }>(
    `mutation LoadTestRules(
      $userId: ID!, ${names.map((name) => `$${name}: Float, `).join('')}$rules: [RuleInput!]
    ) {
      setRules(
        userId: $userId, ${names.map((name) => `${name}: $${name}, `).join('')}rules: $rules
      ) { ${RULES} }
    }`,
    { userId, ...shorthands, rules: options.rules.map(named) },
  );
  return inForce(setRules);
}

/** Puts one rule among a user's own. */
export async function upsertRule(api: Api, userId: string, rule: RuleInput): Promise<void> {
  await api.query(
    `mutation LoadTestRule($userId: ID!, $rule: RuleInput!) {
      upsertRule(userId: $userId, rule: $rule) { version }
    }`,
    { userId, rule: named(rule) },
  );
}

export async function deleteRule(api: Api, userId: string, ruleId: string): Promise<void> {
  await api.query(
    `mutation LoadTestRuleGone($userId: ID!, $ruleId: ID!) {
      deleteRule(userId: $userId, ruleId: $ruleId) { version }
    }`,
    { userId, ruleId },
  );
}

export interface RuleSet {
  rules: readonly StoredRule[];
  /** By their GraphQL names; null where one is not set. */
  shorthands: Readonly<Record<string, number | null>>;
}

/** A user's rules in force; null where the user is unknown. */
export async function rulesOf(
  api: Api,
  userId: string,
  shorthands: readonly string[],
): Promise<RuleSet | null> {
  type Answer = { user: { ruleSet: RulesAnswer & Record<string, number | null> } | null };
  const { user } = await api.query<Answer>(
    `query LoadTestRuleSet($userId: ID!) {
      user(id: $userId) { ruleSet { ${RULES} ${shorthands.join(' ')} } }
    }`,
    { userId },
  );
  if (user === null) return null;
  const { rules: _, ...values } = user.ruleSet;
  return { rules: inForce(user.ruleSet), shorthands: values };
}

function named(rule: RuleInput): object {
  return { ...rule, operator: OPERATOR_NAMES[rule.operator] };
}

function inForce({ rules }: RulesAnswer): StoredRule[] {
  const symbols = Object.entries(OPERATOR_NAMES) as [Operator, string][];
  return rules
    .filter((rule) => rule.enabled)
    .map(({ ruleId, key, operator, threshold }) => ({
      ruleId,
      key,
      operator: symbols.find(([, name]) => name === operator)?.[0] ?? null,
      threshold,
    }));
}
