-- Made by `bun run generate` from src/model.ts and src/store/migrations.ts: edit those.
BEGIN;
CREATE TABLE IF NOT EXISTS schema_migrations (
  version integer PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);

-- 1: readings
-- A hypertable where TimescaleDB runs; elsewhere monthly partitions, which the writer makes before
-- it needs them.
DO $$
DECLARE
  extension_schema name;
BEGIN
  IF current_setting('timescaledb.max_background_workers', true) IS NOT NULL
     AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
    BEGIN
      CREATE EXTENSION timescaledb;
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE insufficient_privilege USING MESSAGE =
        format('this server runs TimescaleDB, and %I may not create it in this database: as a '
          'superuser run CREATE EXTENSION timescaledb in it, and start again', current_user);
    END;
  END IF;
  SELECT nspname INTO extension_schema FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'timescaledb';
  IF extension_schema IS NOT NULL THEN
    CREATE TABLE raw_telemetry (
      time timestamptz NOT NULL,
      user_id text NOT NULL,
      device_id text NOT NULL,
      sequence_id bigint NOT NULL,
      temperature double precision,
      battery integer,
      extra_data jsonb,
      PRIMARY KEY (time, user_id, device_id, sequence_id)
    );
    EXECUTE format(
      $f$SELECT %I.create_hypertable('raw_telemetry', 'time', create_default_indexes => false)$f$,
      extension_schema);
  ELSE
    CREATE TABLE raw_telemetry (
      time timestamptz NOT NULL,
      user_id text NOT NULL,
      device_id text NOT NULL,
      sequence_id bigint NOT NULL,
      temperature double precision,
      battery integer,
      extra_data jsonb,
      PRIMARY KEY (time, user_id, device_id, sequence_id)
    ) PARTITION BY RANGE (time);
  END IF;
END $$;

CREATE INDEX raw_telemetry_device_time ON raw_telemetry (user_id, device_id, time DESC);
INSERT INTO schema_migrations (version, name) VALUES (1, 'readings');

-- 2: engine
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
CREATE INDEX dead_letters_reason ON dead_letters (reason, id);
INSERT INTO schema_migrations (version, name) VALUES (2, 'engine');

-- 3: rules
-- A user's rules as written, by whatever way, and beside them what was made of it.
CREATE TABLE user_configs (
  user_id text PRIMARY KEY,
  temperature_max double precision,
  rules jsonb NOT NULL DEFAULT '[]',
  -- The rules as their writer gave them, before ids: writing them again changes nothing.
  rules_written jsonb NOT NULL DEFAULT '[]',
  version integer NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT now(),
  updated_by text NOT NULL DEFAULT 'sql',
  -- The last valid content, which is in force: {"shorthands": {...}, "rules": [...]}.
  accepted jsonb NOT NULL DEFAULT '{"shorthands": {}, "rules": []}',
  accepted_version integer NOT NULL DEFAULT 0,
  accepted_at timestamptz NOT NULL DEFAULT now(),
  accepted_by text NOT NULL DEFAULT 'sql',
  -- The last version that was looked at, and its faults.
  reviewed_version integer NOT NULL DEFAULT 0,
  issues jsonb NOT NULL DEFAULT '[]'
);
-- What review-rules.ts looks for four times a second; empty nearly always.
CREATE INDEX user_configs_unreviewed ON user_configs (user_id) WHERE version > reviewed_version;

-- Every change of user_configs: what replicas poll, and the history. The newest row of a user must
-- be kept: after a DELETE it alone knows the version.
CREATE SEQUENCE rule_changes_seq;
CREATE TABLE rule_changes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- In commit order: given at COMMIT, null before.
  seq bigint UNIQUE,
  user_id text NOT NULL,
  version integer NOT NULL,
  kind text NOT NULL CHECK (kind IN ('WRITTEN', 'REVIEWED', 'DELETED')),
  actor text NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  content jsonb
);
CREATE INDEX rule_changes_user ON rule_changes (user_id, version);

CREATE FUNCTION pulsegraph_actor() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT coalesce(nullif(current_setting('pulsegraph.actor', true), ''), 'sql')
$$;


-- Decides what a write is. BEFORE INSERT also runs for an INSERT ... ON CONFLICT that then updates,
-- so nothing is recorded here, and a new row gets its number when it is in.
CREATE OR REPLACE FUNCTION user_configs_changing() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.version := 0;
    NEW.accepted := '{"shorthands": {}, "rules": []}';
    NEW.accepted_version := 0;
    NEW.reviewed_version := 0;
    NEW.issues := '[]';
    NEW.rules_written := NEW.rules;
    NEW.updated_at := clock_timestamp();
    NEW.updated_by := pulsegraph_actor();
    RETURN NEW;
  END IF;
  IF NEW.user_id <> OLD.user_id THEN
    RAISE EXCEPTION 'user_configs.user_id cannot be changed: INSERT the new user, DELETE the old';
  END IF;
  IF OLD.version = 0 THEN
    RETURN NEW;  -- user_configs_changed numbers a new row.
  END IF;
  NEW.version := OLD.version;
  IF NEW.reviewed_version IS DISTINCT FROM OLD.reviewed_version THEN
    RETURN NEW;
  END IF;
  IF NEW.rules = OLD.rules_written THEN
    NEW.rules := OLD.rules;
  END IF;
  IF NEW.rules IS DISTINCT FROM OLD.rules OR NEW.temperature_max IS DISTINCT FROM OLD.temperature_max THEN
    NEW.version := OLD.version + 1;
    NEW.rules_written := NEW.rules;
    NEW.updated_at := clock_timestamp();
    NEW.updated_by := pulsegraph_actor();
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER user_configs_changing BEFORE INSERT OR UPDATE ON user_configs
  FOR EACH ROW EXECUTE FUNCTION user_configs_changing();


-- Records what was written. The row is ours by now, so whoever deleted it before has committed.
CREATE OR REPLACE FUNCTION user_configs_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  prior integer;
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO rule_changes (user_id, version, kind, actor)
    VALUES (OLD.user_id, OLD.version + 1, 'DELETED', pulsegraph_actor());
  ELSIF TG_OP = 'INSERT' THEN
    -- Numbers go on where a deleted row stopped, and so does the version in force.
    SELECT coalesce(max(version), 0) INTO prior FROM rule_changes WHERE user_id = NEW.user_id;
    UPDATE user_configs
    SET version = prior + 1, accepted_version = prior, reviewed_version = prior
    WHERE user_id = NEW.user_id;
    INSERT INTO rule_changes (user_id, version, kind, actor, content)
    VALUES (NEW.user_id, prior + 1, 'WRITTEN', NEW.updated_by,
            jsonb_build_object('rules', NEW.rules, 'temperature_max', NEW.temperature_max));
  ELSIF OLD.version > 0 AND NEW.version > OLD.version THEN
    INSERT INTO rule_changes (user_id, version, kind, actor, content)
    VALUES (NEW.user_id, NEW.version, 'WRITTEN', NEW.updated_by,
            jsonb_build_object('rules', NEW.rules, 'temperature_max', NEW.temperature_max));
  ELSIF OLD.version > 0 AND NEW.reviewed_version IS DISTINCT FROM OLD.reviewed_version THEN
    INSERT INTO rule_changes (user_id, version, kind, actor, content)
    VALUES (NEW.user_id, NEW.version, 'REVIEWED', NEW.updated_by,
            jsonb_build_object('rules', NEW.rules, 'temperature_max', NEW.temperature_max));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER user_configs_changed AFTER INSERT OR UPDATE OR DELETE ON user_configs
  FOR EACH ROW EXECUTE FUNCTION user_configs_changed();

CREATE FUNCTION user_configs_truncated() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO rule_changes (user_id, version, kind, actor)
  SELECT user_id, version + 1, 'DELETED', pulsegraph_actor() FROM user_configs;
  RETURN NULL;
END $$;
CREATE TRIGGER user_configs_truncated BEFORE TRUNCATE ON user_configs
  FOR EACH STATEMENT EXECUTE FUNCTION user_configs_truncated();

-- Deferred to COMMIT: a transaction that stays open holds up nobody else's changes, and has all its
-- rows locked before it takes this one lock, so writers can't wait for each other in a circle.
CREATE FUNCTION rule_changes_number() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7205004);
  UPDATE rule_changes SET seq = nextval('rule_changes_seq') WHERE id = NEW.id;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER rule_changes_number AFTER INSERT ON rule_changes
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rule_changes_number();
INSERT INTO schema_migrations (version, name) VALUES (3, 'rules');

-- 4: mqtt auth
-- MQTT accounts. A user's devices and apps log in with the user's id.
CREATE TABLE mqtt_users (
  username text PRIMARY KEY CHECK (username ~ '^[^/+#]+$'),
  -- bcrypt: crypt(password, gen_salt('bf', 10)) of pgcrypto, or Bun.password.hash.
  password_hash text NOT NULL CHECK (password_hash ~ '^[$]2[aby][$][0-9]{2}[$].{53}$'),
  -- Which rows of mqtt_acl hold for it, besides those in its own name.
  role text NOT NULL DEFAULT 'user',
  created_at timestamptz NOT NULL DEFAULT now()
);

-- What is not allowed here is denied. A deny wins over an allow.
CREATE TABLE mqtt_acl (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- One of both: for one account, or for all of a role.
  username text REFERENCES mqtt_users ON UPDATE CASCADE ON DELETE CASCADE,
  role text,
  permission text NOT NULL DEFAULT 'allow' CHECK (permission IN ('allow', 'deny')),
  action text NOT NULL CHECK (action IN ('publish', 'subscribe', 'all')),
  topic text NOT NULL CHECK (topic <> ''),
  CHECK (num_nonnulls(username, role) = 1),
  UNIQUE NULLS NOT DISTINCT (username, role, action, topic)
);
CREATE INDEX mqtt_acl_role ON mqtt_acl (role) WHERE role IS NOT NULL;

INSERT INTO mqtt_acl (role, action, topic) VALUES
  ('user', 'publish', 'users/${username}/devices/+/telemetry'),
  ('user', 'publish', 'users/${username}/config'),
  ('user', 'publish', 'users/${username}/alerts/manage'),
  ('user', 'subscribe', 'users/${username}/config'),
  ('user', 'subscribe', 'users/${username}/config/rejected'),
  ('user', 'subscribe', 'users/${username}/alerts');
INSERT INTO schema_migrations (version, name) VALUES (4, 'mqtt auth');

-- 5: compression
DO $$
DECLARE
  extension_schema name;
BEGIN
  SELECT nspname INTO extension_schema FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'timescaledb';
  IF extension_schema IS NULL THEN
    RETURN;
  END IF;
  IF current_setting('timescaledb.license', true) IS DISTINCT FROM 'timescale' THEN
    RAISE NOTICE 'readings are not compressed: this edition of TimescaleDB does not do it';
    RETURN;
  END IF;
  ALTER TABLE raw_telemetry SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'user_id, device_id',
    timescaledb.compress_orderby = 'time DESC, sequence_id'
  );
  EXECUTE format(
    $f$SELECT %I.add_compression_policy('raw_telemetry', INTERVAL '7 days', if_not_exists => true)$f$,
    extension_schema);
END $$;
INSERT INTO schema_migrations (version, name) VALUES (5, 'compression');

-- 6: wake-ups
-- Tells replicas that listen to look at once. Sent at COMMIT; a transaction sends each but once.
CREATE FUNCTION pulsegraph_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify(TG_ARGV[0], '');
  RETURN NULL;
END $$;
CREATE TRIGGER rule_changes_wake AFTER INSERT ON rule_changes
  FOR EACH STATEMENT EXECUTE FUNCTION pulsegraph_wake('pulsegraph_rule_changes');
CREATE TRIGGER alert_events_wake AFTER INSERT ON alert_events
  FOR EACH STATEMENT EXECUTE FUNCTION pulsegraph_wake('pulsegraph_alert_events');
INSERT INTO schema_migrations (version, name) VALUES (6, 'wake-ups');

-- 7: retention
-- What the janitor deletes first.
CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE status = 'RESOLVED';
INSERT INTO schema_migrations (version, name) VALUES (7, 'retention');

-- 8: dead letter topic
ALTER TABLE dead_letters
  -- The record's key in the log.
  ADD COLUMN log_key text,
  -- When the topic of dead letters had its copy; null until then, and where there is no such topic.
  ADD COLUMN published_at timestamptz;
CREATE INDEX dead_letters_unpublished ON dead_letters (log_id, log_topic, partition, "offset")
  WHERE published_at IS NULL;
INSERT INTO schema_migrations (version, name) VALUES (8, 'dead letter topic');

-- 9: dead letter replay
ALTER TABLE dead_letters
  -- When it was last put back into the log, and by whom; null before.
  ADD COLUMN replayed_at timestamptz,
  ADD COLUMN replayed_by text;
-- Also counts by reason, without reading the payloads.
DROP INDEX dead_letters_reason;
CREATE INDEX dead_letters_reason ON dead_letters (reason, id) INCLUDE (replayed_at);
INSERT INTO schema_migrations (version, name) VALUES (9, 'dead letter replay');

-- 10: rules off
-- Rules that are off: {"rule": ["device", ...]}, or true for the rule of a shorthand.
ALTER TABLE user_configs ADD COLUMN disabled jsonb NOT NULL DEFAULT '{}';

-- Decides what a write is. BEFORE INSERT also runs for an INSERT ... ON CONFLICT that then updates,
-- so nothing is recorded here, and a new row gets its number when it is in.
CREATE OR REPLACE FUNCTION user_configs_changing() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.version := 0;
    NEW.accepted := '{"shorthands": {}, "rules": []}';
    NEW.accepted_version := 0;
    NEW.reviewed_version := 0;
    NEW.issues := '[]';
    NEW.rules_written := NEW.rules;
    NEW.updated_at := clock_timestamp();
    NEW.updated_by := pulsegraph_actor();
    RETURN NEW;
  END IF;
  IF NEW.user_id <> OLD.user_id THEN
    RAISE EXCEPTION 'user_configs.user_id cannot be changed: INSERT the new user, DELETE the old';
  END IF;
  IF OLD.version = 0 THEN
    RETURN NEW;  -- user_configs_changed numbers a new row.
  END IF;
  NEW.version := OLD.version;
  IF NEW.reviewed_version IS DISTINCT FROM OLD.reviewed_version THEN
    RETURN NEW;
  END IF;
  IF NEW.rules = OLD.rules_written THEN
    NEW.rules := OLD.rules;
  END IF;
  IF NEW.rules IS DISTINCT FROM OLD.rules OR NEW.disabled IS DISTINCT FROM OLD.disabled OR NEW.temperature_max IS DISTINCT FROM OLD.temperature_max THEN
    NEW.version := OLD.version + 1;
    NEW.rules_written := NEW.rules;
    NEW.updated_at := clock_timestamp();
    NEW.updated_by := pulsegraph_actor();
  END IF;
  RETURN NEW;
END $$;

-- Records what was written. The row is ours by now, so whoever deleted it before has committed.
CREATE OR REPLACE FUNCTION user_configs_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  prior integer;
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO rule_changes (user_id, version, kind, actor)
    VALUES (OLD.user_id, OLD.version + 1, 'DELETED', pulsegraph_actor());
  ELSIF TG_OP = 'INSERT' THEN
    -- Numbers go on where a deleted row stopped, and so does the version in force.
    SELECT coalesce(max(version), 0) INTO prior FROM rule_changes WHERE user_id = NEW.user_id;
    UPDATE user_configs
    SET version = prior + 1, accepted_version = prior, reviewed_version = prior
    WHERE user_id = NEW.user_id;
    INSERT INTO rule_changes (user_id, version, kind, actor, content)
    VALUES (NEW.user_id, prior + 1, 'WRITTEN', NEW.updated_by,
            jsonb_build_object('rules', NEW.rules, 'disabled', NEW.disabled, 'temperature_max', NEW.temperature_max));
  ELSIF OLD.version > 0 AND NEW.version > OLD.version THEN
    INSERT INTO rule_changes (user_id, version, kind, actor, content)
    VALUES (NEW.user_id, NEW.version, 'WRITTEN', NEW.updated_by,
            jsonb_build_object('rules', NEW.rules, 'disabled', NEW.disabled, 'temperature_max', NEW.temperature_max));
  ELSIF OLD.version > 0 AND NEW.reviewed_version IS DISTINCT FROM OLD.reviewed_version THEN
    INSERT INTO rule_changes (user_id, version, kind, actor, content)
    VALUES (NEW.user_id, NEW.version, 'REVIEWED', NEW.updated_by,
            jsonb_build_object('rules', NEW.rules, 'disabled', NEW.disabled, 'temperature_max', NEW.temperature_max));
  END IF;
  RETURN NULL;
END $$;
-- Users with a rule on missing data, whose devices are looked at while nothing comes.
CREATE INDEX user_configs_silence ON user_configs (user_id)
  WHERE accepted @? '$.rules[*].noData';
INSERT INTO schema_migrations (version, name) VALUES (10, 'rules off');

-- 11: silence
ALTER TABLE watermarks
  -- Since when records have come without an interruption of the log's intake.
  ADD COLUMN flowing_since timestamptz NOT NULL DEFAULT 'epoch';
ALTER TABLE alerts
  -- Since when the rule held when it fired, or since when nothing had come; null: since it fired.
  ADD COLUMN holding_since timestamptz,
  -- Silence has no reading.
  ALTER COLUMN sequence_id DROP NOT NULL,
  ALTER COLUMN event_time DROP NOT NULL;
INSERT INTO schema_migrations (version, name) VALUES (11, 'silence');

-- 12: rollups
-- Each device's numeric columns in steps of 15 minutes, made from the readings by the janitor.
CREATE TABLE rollups (
  user_id text NOT NULL,
  device_id text NOT NULL,
  bucket timestamptz NOT NULL,
  temperature_count integer NOT NULL,
  temperature_sum double precision,
  temperature_min double precision,
  temperature_max double precision,
  temperature_first double precision,
  temperature_last double precision,
  battery_count integer NOT NULL,
  battery_sum double precision,
  battery_min double precision,
  battery_max double precision,
  battery_first double precision,
  battery_last double precision,
  PRIMARY KEY (user_id, device_id, bucket)
) PARTITION BY RANGE (bucket);

-- Steps that got a reading after their rollup was made, or was about to be: those are answered from
-- the readings until the rollup is made anew.
CREATE TABLE rollup_marks (
  user_id text NOT NULL,
  device_id text NOT NULL,
  bucket timestamptz NOT NULL,
  generation bigint NOT NULL,
  PRIMARY KEY (user_id, device_id, bucket, generation)
);

-- One row. A rollup counts when its step is in [kept_from, built_to) and has no mark.
CREATE TABLE rollup_progress (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  -- Of the marks that are set now; only older ones are worked off.
  generation bigint NOT NULL DEFAULT 0,
  -- Whoever writes an older reading sets a mark. Never below built_to.
  horizon timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
  -- With all rollups truncated, set it back to 1970 to have them made anew.
  built_to timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
  kept_from timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00'
);
INSERT INTO rollup_progress DEFAULT VALUES;
INSERT INTO schema_migrations (version, name) VALUES (12, 'rollups');

-- 13: snoozes
-- A snooze belongs to a rule on a device and outlives episodes. Deleted when it ends.
CREATE TABLE snoozes (
  user_id text NOT NULL,
  device_id text NOT NULL,
  rule_id text NOT NULL,
  until timestamptz NOT NULL,
  actor text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (user_id, device_id, rule_id)
);
CREATE INDEX snoozes_until ON snoozes (until);

ALTER TABLE alerts
  -- Nothing ever wrote it.
  DROP COLUMN snoozed_until,
  ADD COLUMN acknowledged_by text,
  -- It began while snoozed, and MQTT has heard nothing of it.
  ADD COLUMN muted boolean NOT NULL DEFAULT false;

ALTER TABLE alert_events
  -- Of SNOOZED.
  ADD COLUMN snoozed_until timestamptz,
  -- Not for MQTT.
  ADD COLUMN muted boolean NOT NULL DEFAULT false;

-- What an operation on users/{user}/alerts/manage was refused for.
INSERT INTO mqtt_acl (role, action, topic)
VALUES ('user', 'subscribe', 'users/${username}/alerts/manage/rejected')
ON CONFLICT DO NOTHING;
INSERT INTO schema_migrations (version, name) VALUES (13, 'snoozes');

-- 14: traces
-- W3C trace context of the reading, where that was followed.
ALTER TABLE alert_events ADD COLUMN traceparent text;
INSERT INTO schema_migrations (version, name) VALUES (14, 'traces');

-- 15: rule change issues
-- Of REVIEWED: the faults for which it was refused; empty where it came into force, null where that
-- was before this column was.
ALTER TABLE rule_changes ADD COLUMN issues jsonb;
UPDATE rule_changes r SET issues = c.issues FROM user_configs c
WHERE r.kind = 'REVIEWED' AND r.user_id = c.user_id AND r.version = c.reviewed_version;

-- Records what was written. The row is ours by now, so whoever deleted it before has committed.
CREATE OR REPLACE FUNCTION user_configs_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  prior integer;
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO rule_changes (user_id, version, kind, actor)
    VALUES (OLD.user_id, OLD.version + 1, 'DELETED', pulsegraph_actor());
  ELSIF TG_OP = 'INSERT' THEN
    -- Numbers go on where a deleted row stopped, and so does the version in force.
    SELECT coalesce(max(version), 0) INTO prior FROM rule_changes WHERE user_id = NEW.user_id;
    UPDATE user_configs
    SET version = prior + 1, accepted_version = prior, reviewed_version = prior
    WHERE user_id = NEW.user_id;
    INSERT INTO rule_changes (user_id, version, kind, actor, content)
    VALUES (NEW.user_id, prior + 1, 'WRITTEN', NEW.updated_by,
            jsonb_build_object('rules', NEW.rules, 'disabled', NEW.disabled, 'temperature_max', NEW.temperature_max));
  ELSIF OLD.version > 0 AND NEW.version > OLD.version THEN
    INSERT INTO rule_changes (user_id, version, kind, actor, content)
    VALUES (NEW.user_id, NEW.version, 'WRITTEN', NEW.updated_by,
            jsonb_build_object('rules', NEW.rules, 'disabled', NEW.disabled, 'temperature_max', NEW.temperature_max));
  ELSIF OLD.version > 0 AND NEW.reviewed_version IS DISTINCT FROM OLD.reviewed_version THEN
    INSERT INTO rule_changes (user_id, version, kind, actor, content, issues)
    VALUES (NEW.user_id, NEW.version, 'REVIEWED', NEW.updated_by,
            jsonb_build_object('rules', NEW.rules, 'disabled', NEW.disabled, 'temperature_max', NEW.temperature_max), NEW.issues);
  END IF;
  RETURN NULL;
END $$;
INSERT INTO schema_migrations (version, name) VALUES (15, 'rule change issues');

-- 16: mqtt accounts
ALTER TABLE mqtt_users
  DROP CONSTRAINT mqtt_users_password_hash_check,
  -- Of PBKDF2; '' with bcrypt, whose hash holds it.
  ADD COLUMN salt text NOT NULL DEFAULT '',
  -- May do everything, whatever mqtt_acl says.
  ADD COLUMN is_superuser boolean NOT NULL DEFAULT false,
  -- Since when it can't log in; null: it can.
  ADD COLUMN disabled_at timestamptz,
  -- bcrypt, or PBKDF2 with HMAC-SHA-512: 210,000 iterations, 64 bytes in hexadecimal.
  ADD CONSTRAINT mqtt_users_password_hash_check CHECK (
    password_hash ~ '^[$]2[aby][$][0-9]{2}[$].{53}$'
    OR (password_hash ~ '^[0-9a-f]{128}$' AND salt <> ''));

-- One row, whose number grows in commit order with every change of mqtt_users and mqtt_acl.
CREATE TABLE mqtt_accounts_version (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  version bigint NOT NULL DEFAULT 1
);
INSERT INTO mqtt_accounts_version DEFAULT VALUES;
CREATE FUNCTION mqtt_accounts_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE mqtt_accounts_version SET version = version + 1;
  RETURN NULL;
END $$;
CREATE TRIGGER mqtt_users_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mqtt_users
  FOR EACH STATEMENT EXECUTE FUNCTION mqtt_accounts_changed();
CREATE TRIGGER mqtt_acl_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mqtt_acl
  FOR EACH STATEMENT EXECUTE FUNCTION mqtt_accounts_changed();
INSERT INTO schema_migrations (version, name) VALUES (16, 'mqtt accounts');

-- 17: stream model
-- The model that the tables are made for; each start compares its own. One row. Without it the next
-- start takes the tables as they are.
CREATE TABLE stream_model (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  model jsonb NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO stream_model (model) VALUES
  ('{"table":"raw_telemetry","topic":"users/{user_id}/devices/{device_id}/telemetry","owner":{"column":"user_id"},"device":{"column":"device_id"},"sequence":{"column":"sequence_id"},"columns":{"temperature":{"type":"double","nullable":true,"min":-500,"max":10000},"battery":{"min":0,"max":100,"type":"integer","nullable":true}},"extraColumn":"extra_data","shorthands":{"temperature_max":{"id":"temperature-max","key":"temperature","operator":">"}}}');
INSERT INTO schema_migrations (version, name) VALUES (17, 'stream model');

-- 18: calm rules
ALTER TABLE device_state
  -- The reading that the rules under rules->'calm' took into account last.
  ADD COLUMN calm_time timestamptz,
  ADD COLUMN calm_sequence bigint;
INSERT INTO schema_migrations (version, name) VALUES (18, 'calm rules');

-- 19: alert wake-ups
-- Also says up to where there are events, so that nobody looks for those it knows.
CREATE FUNCTION pulsegraph_wake_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify(TG_ARGV[0], (SELECT max(seq)::text FROM appended));
  RETURN NULL;
END $$;
DROP TRIGGER alert_events_wake ON alert_events;
CREATE TRIGGER alert_events_wake AFTER INSERT ON alert_events REFERENCING NEW TABLE AS appended
  FOR EACH STATEMENT EXECUTE FUNCTION pulsegraph_wake_events('pulsegraph_alert_events');
INSERT INTO schema_migrations (version, name) VALUES (19, 'alert wake-ups');

-- 20: room for device states
-- Room in each page for the next versions of its rows: no index changes where a state does.
ALTER TABLE device_state SET (fillfactor = 60);
INSERT INTO schema_migrations (version, name) VALUES (20, 'room for device states');

-- 21: lane functions
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
  IF NOT FOUND THEN RAISE EXCEPTION 'the watermark is elsewhere' USING ERRCODE = 'PGB01'; END IF;
  -- Only behind the row lock, which whoever moves the horizon waits for.
  SELECT horizon INTO rolled_up FROM rollup_progress;
  IF oldest < rolled_up THEN RAISE EXCEPTION 'a reading is older than the rollups' USING ERRCODE = 'PGB01'; END IF;
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
  IF FOUND THEN RAISE EXCEPTION 'rules have moved' USING ERRCODE = 'PGB01'; END IF;
END $$;


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
  IF saved <> cardinality(users) THEN RAISE EXCEPTION 'another writer moved the state of a device' USING ERRCODE = 'PGB01'; END IF;
END $$;
INSERT INTO schema_migrations (version, name) VALUES (21, 'lane functions');

-- 22: alert functions
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
END $$;


-- Appends to the outbox, in the order of their position; what is there already, by id, stays as it
-- is. Takes the lock that keeps seq in commit order, so it comes last in a transaction. Events are
-- muted where their alerts are. Gives those that were not there.
CREATE OR REPLACE FUNCTION pulsegraph_append_events(events json)
RETURNS SETOF alert_events LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7205003);
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
END $$;
INSERT INTO schema_migrations (version, name) VALUES (22, 'alert functions');
COMMIT;
