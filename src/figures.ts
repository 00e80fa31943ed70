/** What the parts of the process tell Prometheus, beside the engine and the API. */
import { withDeadline } from './engine/retry.ts';
import type { RuleBook } from './engine/rule-book.ts';
import type { BridgeStats } from './mqtt/bridge.ts';
import type { BrokerStats } from './mqtt/broker.ts';
import type { Figure } from './schema/metrics.ts';
import type { Sql } from './store/connection.ts';
import { outboxAgeSeconds } from './store/outbox-age.ts';

const OUTBOX_DEADLINE_MS = 2_000;

const counter = (name: string, help: string, read: Figure['read']): Figure => ({
  name: `pulsegraph_${name}_total`,
  help,
  type: 'counter',
  read,
});
const gauge = (name: string, help: string, read: Figure['read']): Figure => ({
  name: `pulsegraph_${name}`,
  help,
  type: 'gauge',
  read,
});

export function databaseFigures(deps: { sql: Sql; rules: Pick<RuleBook, 'size'> }): Figure[] {
  const age = () => withDeadline(outboxAgeSeconds(deps.sql), OUTBOX_DEADLINE_MS, 'the outbox age');
  return [
    gauge(
      'outbox_age_seconds',
      'Age of the oldest alert transition not yet sent by MQTT, of the whole deployment; 0 for none',
      age,
    ),
    gauge('rule_sets', 'Users whose rules are in memory', deps.rules.size),
  ];
}

export function logFigures(
  stats: () => { appended: number; queued: number; usedBytes?: number; maxBytes?: number },
): Figure[] {
  const figures = [
    counter('log_appended', 'Records that this process made durable', () => stats().appended),
    gauge('log_queued_records', 'Records that wait for the log', () => stats().queued),
  ];
  if (stats().usedBytes === undefined) return figures;
  return [
    ...figures,
    gauge('log_size_bytes', 'Size of the embedded log', () => stats().usedBytes ?? null),
    gauge('log_limit_bytes', 'Size at which it is full', () => stats().maxBytes ?? null),
  ];
}

export function brokerFigures(stats: () => BrokerStats): Figure[] {
  return [
    counter('mqtt_messages_in', 'MQTT messages that went into the log', () => stats().appended),
    counter('mqtt_append_failures', 'MQTT messages not taken in', () => stats().appendFailures),
    gauge('mqtt_connections', 'Clients of the embedded broker', () => stats().connections),
    gauge('mqtt_sessions', 'Sessions that it keeps', () => stats().sessions),
    gauge(
      'mqtt_queued_messages',
      'Messages that wait for subscribers',
      () => stats().queuedMessages,
    ),
    counter(
      'mqtt_dropped_messages',
      'Messages that subscribers were too slow for',
      () => stats().dropped + stats().skipped,
    ),
    gauge('mqtt_in_flight_bytes', 'Of messages not yet in the log', () => stats().inFlightBytes),
  ];
}

export function bridgeFigures(stats: () => BridgeStats): Figure[] {
  return [
    counter('mqtt_messages_in', 'MQTT messages that went into the log', () => stats().appended),
    counter('bridge_rejected_messages', 'Those too large for the log', () => stats().rejected),
    counter('bridge_repeated_messages', 'Those sent before', () => stats().repeated),
    counter('bridge_connections', 'Connections made to the broker', () => stats().connects),
    gauge('bridge_connected', '1 while it is connected', () => (stats().connected ? 1 : 0)),
    gauge('bridge_in_flight_messages', 'Messages not yet in the log', () => stats().inFlight),
    gauge('bridge_in_flight_bytes', 'Bytes of them', () => stats().inFlightBytes),
  ];
}
