import type { Model } from '../domain/model.ts';

/**
 * Who may log in to an outside MQTT broker and what they may do there, as EMQX 5 asks for it
 * (docker/emqx.conf): bcrypt hashes, `permission` allow or deny, `action` publish, subscribe or all.
 * In a topic, `${username}` stands for the account's own name, which is its user id here.
 *
 * An account's name is a level of its topics, so it can't hold a separator or a wildcard: an account
 * named "+" would be every user.
 */
export function mqttAuthSchema(model: Model): string {
  const { owner, device, topic } = model;
  // Where all readings are of one owner, that account has the right in its own name.
  const telemetry =
    'column' in owner
      ? [
          [
            'publish',
            topic.replace(`{${owner.column}}`, `\${username}`).replace(`{${device.column}}`, '+'),
          ],
        ]
      : [];
  const ofUsers = [
    ...telemetry,
    ['publish', `users/\${username}/config`],
    ['publish', `users/\${username}/alerts/manage`],
    ['subscribe', `users/\${username}/config`],
    ['subscribe', `users/\${username}/config/rejected`],
    ['subscribe', `users/\${username}/alerts`],
  ];
  return `
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
${ofUsers.map(([action, topic]) => `  ('user', '${action}', '${topic}')`).join(',\n')};`;
}

/** Accounts also for the embedded broker, which learns of changes by a number. */
export const MQTT_ACCOUNTS = `
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
  FOR EACH STATEMENT EXECUTE FUNCTION mqtt_accounts_changed();`;
