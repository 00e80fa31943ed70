import { formatMicros, type Micros, parseRfc3339 } from '../domain/time.ts';
import { type Api, allPages, type Connection } from './api.ts';
import type { StoredAlert, StoredReading } from './verdict.ts';

/** What the load test asks of the server, one operation each. */

export interface DeviceName {
  userId: string;
  deviceId: string;
}

/** How readings are told apart: by sequence id and time, or by time alone. */
export interface Keyed {
  hasSequence: boolean;
}

/** All stored readings of a device, in order of time. */
export async function storedReadings(
  api: Api,
  device: DeviceName,
  { hasSequence }: Keyed,
): Promise<StoredReading[]> {
  type Answer = {
    user: {
      device: { readings: Connection<{ sequenceId?: number; time: string }> } | null;
    } | null;
  };
  const nodes = await allPages(1000, async (first, after) => {
    const { user } = await api.query<Answer>(
      `query LoadTestReadings($userId: ID!, $deviceId: ID!, $first: Int!, $after: String) {
        user(id: $userId) { device(deviceId: $deviceId) {
          readings(first: $first, after: $after, order: ASC) {
            edges { node { time ${hasSequence ? 'sequenceId' : ''} } }
            pageInfo { hasNextPage endCursor }
          }
        } }
      }`,
      { ...device, first, after },
    );
    return user?.device?.readings ?? null;
  });
  return nodes.map(({ sequenceId, time }) => ({
    sequenceId: sequenceId ?? null,
    time: micros(time),
  }));
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
  /** Null where the payload tells none, as with the time. */
  sequenceId: number | null;
  time: Micros | null;
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
  return nodes.map(({ reason, payload }) => ({ reason, ...keyIn(payload) }));
}

function keyIn(base64: string): Pick<DeadLetter, 'sequenceId' | 'time'> {
  try {
    const text = Buffer.from(base64, 'base64').toString();
    const payload = JSON.parse(text) as { sequence_id?: unknown; time?: unknown } | null;
    const id = payload?.sequence_id;
    return {
      sequenceId: typeof id === 'number' ? id : null,
      time: parseRfc3339(String(payload?.time)),
    };
  } catch {
    return { sequenceId: null, time: null };
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
    user: { device: { readings: Connection<{ sequenceId?: number }> } | null } | null;
  };
  const isAny = sequenceId === null;
  const { user } = await api.query<Answer>(
    `query LoadTestReading($userId: ID!, $deviceId: ID!, $from: DateTime!, $to: DateTime!) {
      user(id: $userId) { device(deviceId: $deviceId) {
        readings(from: $from, to: $to, first: 1000) {
          edges { node { ${isAny ? 'time' : 'sequenceId'} } }
        }
      } }
    }`,
    { userId, deviceId, from: formatMicros(time), to: formatMicros(time + 1) },
  );
  return (user?.device?.readings.edges ?? []).some(
    ({ node }) => isAny || node.sequenceId === sequenceId,
  );
}

/** Event times are compared to the microsecond. Throws on what is no RFC 3339 time. */
export function micros(time: string): number {
  const parsed = parseRfc3339(time);
  if (parsed === null) throw new Error(`the server gave "${time}" as a time: not RFC 3339`);
  return parsed;
}
