/** What people do about alerts: snoozes, and who acknowledged. */
export const SNOOZES = `
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
VALUES ('user', 'subscribe', 'users/\${username}/alerts/manage/rejected')
ON CONFLICT DO NOTHING;`;
