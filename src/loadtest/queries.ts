import type { Operator } from '../domain/rule.ts';
import { formatMicros, parseRfc3339 } from '../domain/time.ts';
import { type Api, allPages, type Connection } from './api.ts';
import type { StoredAlert, StoredReading } from './verdict.ts';

/** What the load test asks of the server, one operation each. */

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
  threshold: number;
  message: string;
  severity?: string;
}

export interface RuleSet {
  version: number;
  temperatureMax: number | null;
  rules: { ruleId: string; key: string | null; operator: Operator | null; threshold: unknown }[];
}

const RULE_SET = `version temperatureMax rules { ruleId key operator threshold enabled }`;

interface RuleSetAnswer {
  version: number;
  temperatureMax: number | null;
  rules: {
    ruleId: string;
    key: string | null;
    operator: string | null;
    threshold: unknown;
    enabled: boolean;
  }[];
}

/** Sets a user's rules; what is left out stays as it was. */
export async function setRules(
  api: Api,
  options: { userId: string; temperatureMax?: number; rules: RuleInput[] },
): Promise<RuleSet> {
  const rules = options.rules.map((rule) => ({ ...rule, operator: OPERATOR_NAMES[rule.operator] }));
  const { setRules } = await api.query<{ setRules: RuleSetAnswer }>(
    `mutation LoadTestRules($userId: ID!, $temperatureMax: Float, $rules: [RuleInput!]) {
      setRules(userId: $userId, temperatureMax: $temperatureMax, rules: $rules) { ${RULE_SET} }
    }`,
    { ...options, rules },
  );
  return readRuleSet(setRules);
}

/** A user's rules in force; null where the user is unknown. */
export async function ruleSetOf(api: Api, userId: string): Promise<RuleSet | null> {
  const { user } = await api.query<{ user: { ruleSet: RuleSetAnswer } | null }>(
    `query LoadTestRuleSet($userId: ID!) { user(id: $userId) { ruleSet { ${RULE_SET} } } }`,
    { userId },
  );
  return user && readRuleSet(user.ruleSet);
}

function readRuleSet({ rules, ...rest }: RuleSetAnswer): RuleSet {
  const symbols = Object.entries(OPERATOR_NAMES) as [Operator, string][];
  const inForce = rules.filter((rule) => rule.enabled);
  return {
    ...rest,
    rules: inForce.map(({ ruleId, key, operator, threshold }) => ({
      ruleId,
      key,
      operator: symbols.find(([, name]) => name === operator)?.[0] ?? null,
      threshold,
    })),
  };
}

export interface DeviceName {
  userId: string;
  deviceId: string;
}

/** All stored readings of a device, in order of time. */
export async function storedReadings(api: Api, device: DeviceName): Promise<StoredReading[]> {
  type Answer = {
    user: {
      device: { readings: Connection<{ sequenceId: number; time: string }> } | null;
    } | null;
  };
  const nodes = await allPages(1000, async (first, after) => {
    const { user } = await api.query<Answer>(
      `query LoadTestReadings($userId: ID!, $deviceId: ID!, $first: Int!, $after: String) {
        user(id: $userId) { device(deviceId: $deviceId) {
          readings(first: $first, after: $after, order: ASC) {
            edges { node { sequenceId time } } pageInfo { hasNextPage endCursor }
          }
        } }
      }`,
      { ...device, first, after },
    );
    return user?.device?.readings ?? null;
  });
  return nodes.map(({ sequenceId, time }) => ({ sequenceId, time: micros(time) }));
}

/** All alerts of a user with their events. */
export async function storedAlerts(api: Api, userId: string): Promise<StoredAlert[]> {
  type Node = {
    id: string;
    ruleId: string;
    startedAt: string;
    resolvedAt: string | null;
    device: { deviceId: string };
    events: { type: string }[];
  };
  const nodes = await allPages<Node>(500, async (first, after) => {
    const { user } = await api.query<{ user: { alerts: Connection<Node> } | null }>(
      `query LoadTestAlerts($userId: ID!, $first: Int!, $after: String) {
        user(id: $userId) { alerts(first: $first, after: $after) {
          edges { node {
            id ruleId startedAt resolvedAt device { deviceId } events { type }
          } }
          pageInfo { hasNextPage endCursor }
        } }
      }`,
      { userId, first, after },
    );
    return user?.alerts ?? null;
  });
  return nodes.map((node) => ({
    id: node.id,
    userId,
    deviceId: node.device.deviceId,
    ruleId: node.ruleId,
    startedAt: micros(node.startedAt),
    resolvedAt: node.resolvedAt === null ? null : micros(node.resolvedAt),
    events: node.events.map(({ type }) => type),
  }));
}

export interface DeadLetter {
  reason: string;
  /** Null where the payload tells none. */
  sequenceId: number | null;
}

/** All dead letters of a topic, the newest first. */
export async function deadLettersOf(api: Api, topic: string): Promise<DeadLetter[]> {
  type Node = { reason: string; payload: string };
  const nodes = await allPages(500, async (first, after) => {
    const { deadLetters } = await api.query<{ deadLetters: Connection<Node> | null }>(
      `query LoadTestDeadLetters($topic: String!, $first: Int!, $after: String) {
        deadLetters(topic: $topic, first: $first, after: $after) {
          edges { node { reason payload } } pageInfo { hasNextPage endCursor }
        }
      }`,
      { topic, first, after },
    );
    return deadLetters;
  });
  return nodes.map(({ reason, payload }) => ({ reason, sequenceId: sequenceIdIn(payload) }));
}

function sequenceIdIn(base64: string): number | null {
  try {
    const payload = JSON.parse(Buffer.from(base64, 'base64').toString()) as unknown;
    const id = (payload as { sequence_id?: unknown } | null)?.sequence_id;
    return typeof id === 'number' ? id : null;
  } catch {
    return null;
  }
}

/**
 * How many accepted messages the process that answers has not stored yet. It sees only its own
 * partitions: of several processes, the others may still be at work.
 */
export async function ingestLag(api: Api): Promise<number | null> {
  const { ingest } = await api.query<{ ingest: { lag: number } | null }>(
    'query LoadTestIngest { ingest { lag } }',
  );
  return ingest?.lag ?? null;
}

/** Whether this very reading of a device is stored. */
export async function isStored(
  api: Api,
  { userId, deviceId, sequenceId, time }: DeviceName & StoredReading,
): Promise<boolean> {
  type Answer = {
    user: { device: { readings: Connection<{ sequenceId: number }> } | null } | null;
  };
  const { user } = await api.query<Answer>(
    `query LoadTestReading($userId: ID!, $deviceId: ID!, $from: DateTime!, $to: DateTime!) {
      user(id: $userId) { device(deviceId: $deviceId) {
        readings(from: $from, to: $to, first: 1000) { edges { node { sequenceId } } }
      } }
    }`,
    { userId, deviceId, from: formatMicros(time), to: formatMicros(time + 1) },
  );
  return (user?.device?.readings.edges ?? []).some(({ node }) => node.sequenceId === sequenceId);
}

/** Event times are compared to the microsecond. Throws on what is no RFC 3339 time. */
export function micros(time: string): number {
  const parsed = parseRfc3339(time);
  if (parsed === null) throw new Error(`the server gave "${time}" as a time: not RFC 3339`);
  return parsed;
}
