import type { Model } from '../domain/model.ts';
import { alertFunctions, LANE_FUNCTIONS } from './batch-functions.ts';
import { MQTT_ACCOUNTS, mqttAuthSchema } from './mqtt-auth-schema.ts';
import { CHANNELS } from './notifications.ts';
import { compression, readings } from './readings-schema.ts';
import { rollupsSchema } from './rollups-schema.ts';
import { disabledRulesSchema, ruleChangeIssuesSchema, rulesSchema } from './rules-schema.ts';
import { SNOOZES } from './snoozes-schema.ts';
import { streamModelSchema } from './stream-model.ts';

/** One numbered step of the schema. Applied once, in order, under an advisory lock. */
export interface Migration {
  version: number;
  name: string;
  sql: string;
}

/** Advisory lock keys, all in one place so that no two meanings share one. */
export const LOCKS = {
  migrations: 7_205_001,
  partitions: 7_205_002,
  /** Held to COMMIT by whoever inserts into alert_events, so that `seq` is in commit order. */
  alertSeq: 7_205_003,
  /** Taken at COMMIT by whoever changed user_configs, for the same reason. */
  ruleChangeSeq: 7_205_004,
  publisher: 7_205_005,
  bridge: 7_205_006,
  janitor: 7_205_007,
  /** Held to COMMIT by whoever makes rollups: one at a time. */
  rollups: 7_205_010,
} as const;

/** Every schema change so far; init.sql is their sum. */
export function migrations(model: Model): Migration[] {
  return [
    { version: 1, name: 'readings', sql: readings(model) },
    { version: 2, name: 'engine', sql: ENGINE },
    { version: 3, name: 'rules', sql: rulesSchema(model, LOCKS.ruleChangeSeq) },
    { version: 4, name: 'mqtt auth', sql: mqttAuthSchema(model) },
    { version: 5, name: 'compression', sql: compression(model) },
    { version: 6, name: 'wake-ups', sql: WAKE_UPS },
    { version: 7, name: 'retention', sql: RETENTION },
    { version: 8, name: 'dead letter topic', sql: DEAD_LETTER_TOPIC },
    { version: 9, name: 'dead letter replay', sql: DEAD_LETTER_REPLAY },
    { version: 10, name: 'rules off', sql: disabledRulesSchema(model) },
    { version: 11, name: 'silence', sql: SILENCE },
    { version: 12, name: 'rollups', sql: rollupsSchema(model) },
    { version: 13, name: 'snoozes', sql: SNOOZES },
    { version: 14, name: 'traces', sql: TRACES },
    { version: 15, name: 'rule change issues', sql: ruleChangeIssuesSchema(model) },
    { version: 16, name: 'mqtt accounts', sql: MQTT_ACCOUNTS },
    { version: 17, name: 'stream model', sql: streamModelSchema(model) },
    { version: 18, name: 'calm rules', sql: CALM_RULES },
    { version: 19, name: 'alert wake-ups', sql: ALERT_WAKE_UPS },
    { version: 20, name: 'room for device states', sql: STATE_ROOM },
    { version: 21, name: 'lane functions', sql: LANE_FUNCTIONS },
    // A schema of before has others of these names, which version 21 had made.
    { version: 22, name: 'alert functions', sql: alertFunctions(LOCKS.alertSeq) },
  ];
}

const ENGINE = `
-- The highest offset whose effects are stored, for each partition of each log that was ever read.
CREATE TABLE watermarks (
  log_id text NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL,
  watermark bigint NOT NULL,
  -- Newest log timestamp covered: an older offset with a newer one betrays a new log.
  covered_at timestamptz NOT NULL,
  PRIMARY KEY (log_id, topic, partition)
);

CREATE TABLE device_state (
  user_id text NOT NULL,
  device_id text NOT NULL,
  partition integer NOT NULL,
  version bigint NOT NULL,
  first_seen_at timestamptz NOT NULL,
  newest_time timestamptz,
  last_arrival_at timestamptz NOT NULL,
  -- For each rule id: the last reading it took into account, and its open episode.
  rules jsonb NOT NULL,
  PRIMARY KEY (user_id, device_id)
);

-- One row for each episode.
CREATE TABLE alerts (
  id text PRIMARY KEY,
  user_id text NOT NULL,
  device_id text NOT NULL,
  rule_id text NOT NULL,
  rule_version integer NOT NULL,
  status text NOT NULL CHECK (status IN ('FIRING', 'RESOLVED')),
  severity text NOT NULL CHECK (severity IN ('INFO', 'WARNING', 'CRITICAL')),
  message text NOT NULL,
  key text,
  operator text,
  threshold jsonb,
  value jsonb,
  started_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  resolved_at timestamptz,
  resolve_reason text,
  acknowledged_at timestamptz,
  snoozed_until timestamptz,
  -- Evidence: the reading that made it fire.
  partition integer NOT NULL,
  "offset" bigint NOT NULL,
  sequence_id bigint NOT NULL,
  event_time timestamptz NOT NULL,
  arrival_time timestamptz NOT NULL
);
CREATE INDEX alerts_user_started ON alerts (user_id, started_at DESC, id);
CREATE INDEX alerts_device_started ON alerts (user_id, device_id, started_at DESC, id);
CREATE INDEX alerts_firing ON alerts (user_id, device_id) WHERE status = 'FIRING';

-- Append-only transitions, each as it was then. The outbox of users/{user}/alerts.
CREATE SEQUENCE alert_events_seq;
CREATE TABLE alert_events (
  seq bigint PRIMARY KEY,
  id text NOT NULL UNIQUE,
  alert_id text NOT NULL,
  type text NOT NULL,
  status text NOT NULL,
  user_id text NOT NULL,
  device_id text NOT NULL,
  rule_id text NOT NULL,
  severity text NOT NULL,
  message text NOT NULL,
  key text,
  operator text,
  threshold jsonb,
  value jsonb,
  time timestamptz NOT NULL,
  started_at timestamptz NOT NULL,
  actor text,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  published_at timestamptz
);
CREATE INDEX alert_events_user_seq ON alert_events (user_id, seq);
CREATE INDEX alert_events_alert ON alert_events (alert_id, seq);

-- How far the elected publisher has come: one contiguous position for each stream it sends.
CREATE TABLE publisher_positions (
  stream text PRIMARY KEY,
  seq bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE dead_letters (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  log_id text NOT NULL,
  log_topic text NOT NULL,
  partition integer NOT NULL,
  "offset" bigint NOT NULL,
  topic text,
  reason text NOT NULL,
  detail text NOT NULL,
  payload bytea NOT NULL,
  arrival_time timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (log_id, log_topic, partition, "offset")
);
CREATE INDEX dead_letters_reason ON dead_letters (reason, id);`;

const WAKE_UPS = `
-- Tells replicas that listen to look at once. Sent at COMMIT; a transaction sends each but once.
CREATE FUNCTION pulsegraph_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify(TG_ARGV[0], '');
  RETURN NULL;
END $$;
CREATE TRIGGER rule_changes_wake AFTER INSERT ON rule_changes
  FOR EACH STATEMENT EXECUTE FUNCTION pulsegraph_wake('${CHANNELS.ruleChanges}');
CREATE TRIGGER alert_events_wake AFTER INSERT ON alert_events
  FOR EACH STATEMENT EXECUTE FUNCTION pulsegraph_wake('${CHANNELS.alertEvents}');`;

const RETENTION = `
-- What the janitor deletes first.
CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE status = 'RESOLVED';`;

const DEAD_LETTER_TOPIC = `
ALTER TABLE dead_letters
  -- The record's key in the log.
  ADD COLUMN log_key text,
  -- When the topic of dead letters had its copy; null until then, and where there is no such topic.
  ADD COLUMN published_at timestamptz;
CREATE INDEX dead_letters_unpublished ON dead_letters (log_id, log_topic, partition, "offset")
  WHERE published_at IS NULL;`;

const DEAD_LETTER_REPLAY = `
ALTER TABLE dead_letters
  -- When it was last put back into the log, and by whom; null before.
  ADD COLUMN replayed_at timestamptz,
  ADD COLUMN replayed_by text;
-- Also counts by reason, without reading the payloads.
DROP INDEX dead_letters_reason;
CREATE INDEX dead_letters_reason ON dead_letters (reason, id) INCLUDE (replayed_at);`;

const SILENCE = `
ALTER TABLE watermarks
  -- Since when records have come without an interruption of the log's intake.
  ADD COLUMN flowing_since timestamptz NOT NULL DEFAULT 'epoch';
ALTER TABLE alerts
  -- Since when the rule held when it fired, or since when nothing had come; null: since it fired.
  ADD COLUMN holding_since timestamptz,
  -- Silence has no reading.
  ALTER COLUMN sequence_id DROP NOT NULL,
  ALTER COLUMN event_time DROP NOT NULL;`;

const TRACES = `
-- W3C trace context of the reading, where that was followed.
ALTER TABLE alert_events ADD COLUMN traceparent text;`;

const CALM_RULES = `
ALTER TABLE device_state
  -- The reading that the rules under rules->'calm' took into account last.
  ADD COLUMN calm_time timestamptz,
  ADD COLUMN calm_sequence bigint;`;

const ALERT_WAKE_UPS = `
-- Also says up to where there are events, so that nobody looks for those it knows.
CREATE FUNCTION pulsegraph_wake_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify(TG_ARGV[0], (SELECT max(seq)::text FROM appended));
  RETURN NULL;
END $$;
DROP TRIGGER alert_events_wake ON alert_events;
CREATE TRIGGER alert_events_wake AFTER INSERT ON alert_events REFERENCING NEW TABLE AS appended
  FOR EACH STATEMENT EXECUTE FUNCTION pulsegraph_wake_events('${CHANNELS.alertEvents}');`;

const STATE_ROOM = `
-- Room in each page for the next versions of its rows: no index changes where a state does.
ALTER TABLE device_state SET (fillfactor = 60);`;
