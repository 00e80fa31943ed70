-- Accounts that the compose stack needs beside those of users: run by `psql -1` at each start, so that
-- a password changed in .env holds from then on.
\set ON_ERROR_STOP on
\getenv emqx_database_user EMQX_DATABASE_USER
\getenv emqx_database_password EMQX_DATABASE_PASSWORD
\getenv pulsegraph_username MQTT_USERNAME
\getenv pulsegraph_password MQTT_PASSWORD
\getenv vector_username VECTOR_MQTT_USERNAME
\getenv vector_password VECTOR_MQTT_PASSWORD

SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcrypto;

-- EMQX reads accounts and rights, and nothing else.
SELECT format('CREATE ROLE %I', :'emqx_database_user')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'emqx_database_user') \gexec
ALTER ROLE :"emqx_database_user" LOGIN PASSWORD :'emqx_database_password';
GRANT SELECT ON mqtt_users, mqtt_acl TO :"emqx_database_user";

INSERT INTO mqtt_users (username, password_hash, role) VALUES
  (:'pulsegraph_username', crypt(:'pulsegraph_password', gen_salt('bf', 10)), 'service'),
  (:'vector_username', crypt(:'vector_password', gen_salt('bf', 10)), 'service')
ON CONFLICT (username) DO UPDATE SET password_hash = EXCLUDED.password_hash, role = EXCLUDED.role;

-- Telemetry is for the bridge, whichever it is.
INSERT INTO mqtt_acl (username, action, topic) VALUES
  (:'vector_username', 'subscribe', 'users/+/devices/+/telemetry'),
  (:'pulsegraph_username', 'subscribe', 'users/+/devices/+/telemetry'),
  (:'pulsegraph_username', 'subscribe', 'users/+/config'),
  (:'pulsegraph_username', 'subscribe', 'users/+/alerts/manage'),
  (:'pulsegraph_username', 'publish', 'users/+/config'),
  (:'pulsegraph_username', 'publish', 'users/+/config/rejected'),
  (:'pulsegraph_username', 'publish', 'users/+/alerts'),
  (:'pulsegraph_username', 'publish', 'users/+/alerts/manage/rejected')
ON CONFLICT DO NOTHING;
