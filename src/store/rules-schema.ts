import type { Model } from '../domain/model.ts';

/**
 * user_configs and its history. Its triggers number every change, whoever makes it, so that a plain
 * SQL statement is as good a way to change rules as any.
 *
 * @param seqLock advisory lock under which rule_changes.seq is given
 */
export function rulesSchema(model: Model, seqLock: number): string {
  const shorthands = Object.keys(model.shorthands);
  const columns = shorthands.map((name) => `${name} double precision,\n  `).join('');
  return `
-- A user's rules as written, by whatever way, and beside them what was made of it.
CREATE TABLE user_configs (
  user_id text PRIMARY KEY,
  ${columns}rules jsonb NOT NULL DEFAULT '[]',
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

${changing(shorthands)}
CREATE TRIGGER user_configs_changing BEFORE INSERT OR UPDATE ON user_configs
  FOR EACH ROW EXECUTE FUNCTION user_configs_changing();

${changed(['rules', ...shorthands])}
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
  PERFORM pg_advisory_xact_lock(${seqLock});
  UPDATE rule_changes SET seq = nextval('rule_changes_seq') WHERE id = NEW.id;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER rule_changes_number AFTER INSERT ON rule_changes
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rule_changes_number();`;
}

/** What is off, beside the rules: a part of their content. */
export function disabledRulesSchema(model: Model): string {
  const others = ['disabled', ...Object.keys(model.shorthands)];
  return `
-- Rules that are off: {"rule": ["device", ...]}, or true for the rule of a shorthand.
ALTER TABLE user_configs ADD COLUMN disabled jsonb NOT NULL DEFAULT '{}';
${changing(others)}
${changed(['rules', ...others])}
-- Users with a rule on missing data, whose devices are looked at while nothing comes.
CREATE INDEX user_configs_silence ON user_configs (user_id)
  WHERE accepted @? '$.rules[*].noData';`;
}

/** Why a version was refused, in the history too. */
export function ruleChangeIssuesSchema(model: Model): string {
  return `
-- Of REVIEWED: the faults for which it was refused; empty where it came into force, null where that
-- was before this column was.
ALTER TABLE rule_changes ADD COLUMN issues jsonb;
UPDATE rule_changes r SET issues = c.issues FROM user_configs c
WHERE r.kind = 'REVIEWED' AND r.user_id = c.user_id AND r.version = c.reviewed_version;
${changedWithIssues(model)}`;
}

/** What is made of user_configs is also made of the columns of its shorthands, as they are now. */
export function shorthandTriggers(model: Model): string {
  return changing(['disabled', ...Object.keys(model.shorthands)]) + changedWithIssues(model);
}

function changedWithIssues(model: Model): string {
  return changed(['rules', 'disabled', ...Object.keys(model.shorthands)], true);
}

/** @param others columns of content beside the rules */
function changing(others: readonly string[]): string {
  const othersDiffer = others
    .map((name) => ` OR NEW.${name} IS DISTINCT FROM OLD.${name}`)
    .join('');
  return `
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
  IF NEW.rules IS DISTINCT FROM OLD.rules${othersDiffer} THEN
    NEW.version := OLD.version + 1;
    NEW.rules_written := NEW.rules;
    NEW.updated_at := clock_timestamp();
    NEW.updated_by := pulsegraph_actor();
  END IF;
  RETURN NEW;
END $$;`;
}

/** @param withIssues whether the history has a column for them */
function changed(columns: readonly string[], withIssues = false): string {
  const [issuesColumn, issues] = withIssues ? [', issues', ', NEW.issues'] : ['', ''];
  const content = columns.map((name) => `'${name}', NEW.${name}`).join(', ');
  return `
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
            jsonb_build_object(${content}));
  ELSIF OLD.version > 0 AND NEW.version > OLD.version THEN
    INSERT INTO rule_changes (user_id, version, kind, actor, content)
    VALUES (NEW.user_id, NEW.version, 'WRITTEN', NEW.updated_by,
            jsonb_build_object(${content}));
  ELSIF OLD.version > 0 AND NEW.reviewed_version IS DISTINCT FROM OLD.reviewed_version THEN
    INSERT INTO rule_changes (user_id, version, kind, actor, content${issuesColumn})
    VALUES (NEW.user_id, NEW.version, 'REVIEWED', NEW.updated_by,
            jsonb_build_object(${content})${issues});
  END IF;
  RETURN NULL;
END $$;`;
}
