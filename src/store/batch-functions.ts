/** SQLSTATE of a batch that can't be written in one message: nothing of it was. */
export const BATCH_REFUSED = 'PGB01';

/*
 * What a lane's transaction does but for its readings, whose table is the model's. Functions, as a
 * session plans their statements once, also behind a pooler: a batch of 8 readings and a
 * transition takes Postgres 2.2 ms of CPU instead of 3.3.
 */

/** @param alertSeq the advisory lock that keeps alert_events in commit order */
export function alertFunctions(alertSeq: number): string {
  return `${WRITE_ALERTS}

${appendEvents(alertSeq)}`;
}

const refuse = (why: string) => `RAISE EXCEPTION '${why}' USING ERRCODE = '${BATCH_REFUSED}';`;

const BEGIN_BATCH = `
-- Moves a partition's watermark and takes its row lock; then locks the rules of users against
-- change. Refuses where the watermark, or the version of one's rules, is not where the lane left
-- it, and a reading that is older than the rollups, which wants a mark.
CREATE FUNCTION pulsegraph_begin_batch(
  in_log text, in_topic text, in_partition integer, moved_from bigint, moved_to bigint,
  covered timestamptz, flowing timestamptz, oldest timestamptz,
  users text[], versions integer[], rules_timeout text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  rolled_up timestamptz;
  usual_timeout text := current_setting('lock_timeout');
BEGIN
  UPDATE watermarks SET watermark = moved_to, covered_at = covered, flowing_since = flowing
    WHERE log_id = in_log AND topic = in_topic AND partition = in_partition
      AND watermark = moved_from;
  IF NOT FOUND THEN ${refuse('the watermark is elsewhere')} END IF;
  -- Only behind the row lock, which whoever moves the horizon waits for.
  SELECT horizon INTO rolled_up FROM rollup_progress;
  IF oldest < rolled_up THEN ${refuse('a reading is older than the rollups')} END IF;
  IF cardinality(users) = 0 THEN RETURN; END IF;
  PERFORM set_config('lock_timeout', rules_timeout, true);
  PERFORM FROM user_configs WHERE user_id = ANY(users) ORDER BY user_id FOR SHARE;
  PERFORM set_config('lock_timeout', usual_timeout, true);
  -- A statement of its own: it sees the deletion that the one before may have waited for.
  PERFORM FROM unnest(users, versions) AS e(user_id, version)
    LEFT JOIN user_configs u USING (user_id)
    WHERE e.version IS DISTINCT FROM coalesce(u.accepted_version, (
      SELECT max(c.version) FROM rule_changes c
      WHERE c.kind = 'DELETED' AND c.user_id = e.user_id), 0);
  IF FOUND THEN ${refuse('rules have moved')} END IF;
END $$;`;

const SAVE_STATES = `
-- The states of devices, each with a version one above the one it was read at; else it refuses.
CREATE FUNCTION pulsegraph_save_states(
  users text[], devices text[], partitions integer[], versions bigint[],
  first_seen timestamptz[], newest timestamptz[], last_arrivals timestamptz[],
  places integer[], calm_times timestamptz[], calm_sequences bigint[], texts jsonb[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  saved bigint;
BEGIN
  INSERT INTO device_state AS d (user_id, device_id, partition, version, first_seen_at, newest_time,
    last_arrival_at, rules, calm_time, calm_sequence)
  SELECT r.user_id, r.device_id, r.partition, r.version, r.first_seen_at, r.newest_time,
    r.last_arrival_at, texts[r.place], r.calm_time, r.calm_sequence
  FROM unnest(users, devices, partitions, versions, first_seen, newest, last_arrivals, places,
    calm_times, calm_sequences) AS r(user_id, device_id, partition, version, first_seen_at,
    newest_time, last_arrival_at, place, calm_time, calm_sequence)
  ORDER BY r.user_id COLLATE "C", r.device_id COLLATE "C"
  ON CONFLICT (user_id, device_id) DO UPDATE SET
    partition = excluded.partition, version = excluded.version,
    newest_time = excluded.newest_time, last_arrival_at = excluded.last_arrival_at,
    rules = excluded.rules, calm_time = excluded.calm_time,
    calm_sequence = excluded.calm_sequence
  WHERE d.version = excluded.version - 1;
  GET DIAGNOSTICS saved = ROW_COUNT;
  IF saved <> cardinality(users) THEN ${refuse('another writer moved the state of a device')} END IF;
END $$;`;

/** Those of a partition and its devices. */
export const LANE_FUNCTIONS = `${BEGIN_BATCH}

${SAVE_STATES}`;

const WRITE_ALERTS = `
-- New episodes, and those that were moved or ended; each a JSON array, or null. What is there
-- already stays as it is. Those whose rule is snoozed on their device are muted: their snoozes are
-- locked, before any alert, so that nobody ends one without seeing what it has muted.
CREATE OR REPLACE FUNCTION pulsegraph_write_alerts(fired json, held json, resolved json)
RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  IF fired IS NOT NULL THEN
    WITH r AS MATERIALIZED (SELECT * FROM json_to_recordset(fired) AS r(
      id text, user_id text, device_id text, rule_id text, rule_version integer, severity text,
      message text, key text, operator text, threshold jsonb, value jsonb, time timestamptz,
      holding_since timestamptz, event_time timestamptz, partition integer, log_offset bigint,
      sequence_id bigint, arrival_time timestamptz)),
    snoozed AS MATERIALIZED (
      SELECT s.user_id, s.device_id, s.rule_id FROM snoozes s
      WHERE (s.user_id, s.device_id, s.rule_id) IN (SELECT user_id, device_id, rule_id FROM r)
        AND s.until > clock_timestamp()
      FOR SHARE)
    INSERT INTO alerts (id, user_id, device_id, rule_id, rule_version, status, severity, message,
      key, operator, threshold, value, started_at, last_seen_at, holding_since,
      partition, "offset", sequence_id, event_time, arrival_time, muted)
    SELECT id, r.user_id, r.device_id, r.rule_id, rule_version, 'FIRING', severity, message,
      key, operator, nullif(threshold, 'null'), nullif(value, 'null'), time, time, holding_since,
      partition, log_offset, sequence_id, event_time, arrival_time, snoozed.user_id IS NOT NULL
    FROM r LEFT JOIN snoozed USING (user_id, device_id, rule_id)
    ORDER BY id
    ON CONFLICT DO NOTHING;
  END IF;
  -- By the array of ids, and past the index of those that fire: what a session has planned for a
  -- few alerts reads all of many by either.
  IF held IS NOT NULL THEN
    WITH r AS MATERIALIZED (SELECT * FROM json_to_recordset(held) AS r(
      id text, last_seen_at timestamptz, value jsonb))
    UPDATE alerts a SET last_seen_at = r.last_seen_at, value = r.value
    FROM r WHERE a.id = r.id AND a.id = ANY(ARRAY(SELECT id FROM r)) AND a.status <> 'RESOLVED';
  END IF;
  IF resolved IS NOT NULL THEN
    WITH r AS MATERIALIZED (SELECT * FROM json_to_recordset(resolved) AS r(
      id text, resolved_at timestamptz, reason text))
    UPDATE alerts a SET status = 'RESOLVED', resolved_at = r.resolved_at,
      resolve_reason = r.reason
    FROM r WHERE a.id = r.id AND a.id = ANY(ARRAY(SELECT id FROM r)) AND a.status <> 'RESOLVED';
  END IF;
END $$;`;

const appendEvents = (alertSeq: number) => `
-- Appends to the outbox, in the order of their position; what is there already, by id, stays as it
-- is. Takes the lock that keeps seq in commit order, so it comes last in a transaction. Events are
-- muted where their alerts are. Gives those that were not there.
CREATE OR REPLACE FUNCTION pulsegraph_append_events(events json)
RETURNS SETOF alert_events LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(${alertSeq});
  RETURN QUERY WITH r AS MATERIALIZED (SELECT * FROM json_to_recordset(events) AS r(
    position integer, id text, alert_id text, type text, has_value boolean, value jsonb,
    time timestamptz, actor text, snoozed_until timestamptz, traceparent text))
  INSERT INTO alert_events (seq, id, alert_id, type, status, user_id, device_id,
    rule_id, severity, message, key, operator, threshold, value, time, started_at, actor,
    snoozed_until, muted, traceparent)
  SELECT nextval('alert_events_seq'), e.* FROM (
    SELECT r.id, r.alert_id, r.type,
      CASE r.type WHEN 'FIRED' THEN 'FIRING' WHEN 'RESOLVED' THEN 'RESOLVED' ELSE a.status END,
      a.user_id, a.device_id, a.rule_id, a.severity, a.message, a.key, a.operator, a.threshold,
      CASE WHEN r.has_value THEN nullif(r.value, 'null') ELSE a.value END,
      coalesce(r.time, clock_timestamp()), a.started_at, r.actor, r.snoozed_until, a.muted,
      r.traceparent
    FROM r JOIN alerts a ON a.id = r.alert_id
    -- As in pulsegraph_write_alerts.
    WHERE a.id = ANY(ARRAY(SELECT alert_id FROM r))
    ORDER BY r.position) e
  ON CONFLICT (id) DO NOTHING
  RETURNING alert_events.*;
END $$;`;
