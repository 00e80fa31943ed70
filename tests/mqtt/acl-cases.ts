/**
 * Who may do what: one table, for the embedded broker (guard.test.ts) and for EMQX by the queries of
 * docker/emqx.conf (tests/docker/emqx-accounts.test.ts). Where EMQX answers otherwise, `emqx` says so.
 */

export const PASSWORD = 'pump station 7';

export interface AclAccount {
  username: string;
  role?: string;
  is_superuser?: boolean;
  disabled?: boolean;
}

export const ACCOUNTS: AclAccount[] = [
  { username: 'user_123' },
  { username: 'user_124' },
  { username: 'user_123:pump_1', role: 'device' },
  { username: 'admin', role: 'service', is_superuser: true },
  { username: 'leaver', disabled: true },
  { username: 'judged', role: 'service' },
];

/** Rows of mqtt_acl beside those of the role `user`, in the order they are inserted. */
export const RIGHTS: { username: string; permission?: string; action: string; topic: string }[] = [
  {
    username: 'user_123:pump_1',
    action: 'publish',
    topic: 'users/user_123/devices/pump_1/telemetry',
  },
  { username: 'judged', action: 'all', topic: 'free/#' },
  { username: 'judged', permission: 'deny', action: 'publish', topic: 'free/but/+' },
  { username: 'judged', permission: 'deny', action: 'all', topic: 'free/secret/#' },
  { username: 'judged', action: 'subscribe', topic: 'eq exact/+' },
  { username: 'judged', action: 'subscribe', topic: `eq mine/\${username}` },
  { username: 'judged', action: 'all', topic: `mine/\${username}/+` },
  { username: 'judged', action: 'publish', topic: `of/\${clientid}` },
  { username: 'judged', action: 'all', topic: '+/any' },
];

type Answer = 'allow' | 'deny';
export type AclCase = [
  who: string,
  action: 'publish' | 'subscribe',
  topic: string,
  answer: Answer,
  emqx?: Answer,
];

/** The client id that all log in with; the brokers put the account's name before it. */
export const CLIENT_ID = 'c1';

const own = 'users/user_123/devices/pump_1/telemetry';

export const CASES: AclCase[] = [
  ['user_123', 'publish', own, 'allow'],
  ['user_123', 'publish', 'users/user_123/config', 'allow'],
  ['user_123', 'publish', 'users/user_123/alerts/manage', 'allow'],
  ['user_123', 'subscribe', 'users/user_123/alerts', 'allow'],
  ['user_123', 'subscribe', 'users/user_123/config', 'allow'],
  ['user_123', 'subscribe', 'users/user_123/config/rejected', 'allow'],
  ['user_123', 'subscribe', 'users/user_123/alerts/manage/rejected', 'allow'],
  ['user_123', 'publish', 'users/user_124/devices/pump_1/telemetry', 'deny'],
  ['user_123', 'publish', 'users/user_124/config', 'deny'],
  ['user_123', 'publish', 'users/user_124/alerts/manage', 'deny'],
  ['user_123', 'publish', 'users/user_123/alerts', 'deny'],
  ['user_123', 'publish', 'users/user_123/config/rejected', 'deny'],
  ['user_123', 'publish', 'users/user_123/devices/pump_1/other', 'deny'],
  ['user_123', 'publish', 'users/user_123/devices/a/b/telemetry', 'deny'],
  ['user_123', 'publish', 'Users/user_123/config', 'deny'],
  ['user_123', 'publish', 'users/user_123/config/', 'deny'],
  ['user_123', 'publish', '/users/user_123/config', 'deny'],
  ['user_123', 'publish', '$SYS/x', 'deny'],
  ['user_123', 'subscribe', own, 'deny'],
  ['user_123', 'subscribe', 'users/user_124/alerts', 'deny'],
  ['user_123', 'subscribe', 'users/+/alerts', 'deny'],
  ['user_123', 'subscribe', 'users/user_123/#', 'deny'],
  ['user_123', 'subscribe', 'users/#', 'deny'],
  ['user_123', 'subscribe', '#', 'deny'],
  ['user_123', 'subscribe', '$SYS/#', 'deny'],
  ['user_123', 'subscribe', '+/user_123/alerts', 'deny'],
  ['user_124', 'publish', own, 'deny'],
  ['user_124', 'subscribe', 'users/user_124/alerts', 'allow'],
  ['user_124', 'subscribe', 'users/user_123/alerts', 'deny'],
  ['user_123:pump_1', 'publish', own, 'allow'],
  ['user_123:pump_1', 'publish', 'users/user_123/devices/pump_2/telemetry', 'deny'],
  ['user_123:pump_1', 'publish', 'users/user_123/config', 'deny'],
  ['user_123:pump_1', 'subscribe', own, 'deny'],
  ['user_123:pump_1', 'subscribe', 'users/user_123/alerts', 'deny'],
  ['admin', 'publish', 'users/user_124/config', 'allow'],
  ['admin', 'subscribe', '#', 'allow'],
  ['judged', 'publish', 'free/a/b', 'allow'],
  ['judged', 'subscribe', 'free/a/+', 'allow'],
  ['judged', 'subscribe', 'free', 'allow'],
  ['judged', 'publish', 'free/but/this', 'deny'],
  ['judged', 'subscribe', 'free/but/this', 'allow'],
  ['judged', 'publish', 'free/secret', 'deny'],
  ['judged', 'subscribe', 'free/secret/a', 'deny'],
  // As in EMQX: a deny doesn't look into what a wildcard takes in.
  ['judged', 'subscribe', 'free/#', 'allow'],
  ['judged', 'subscribe', 'exact/+', 'allow'],
  ['judged', 'subscribe', 'exact/a', 'deny'],
  // Nothing is filled in after `eq `.
  ['judged', 'subscribe', 'mine/judged', 'deny'],
  ['judged', 'publish', 'mine/judged/a', 'allow'],
  ['judged', 'publish', 'mine/user_123/a', 'deny'],
  ['judged', 'subscribe', 'mine/judged/+', 'allow'],
  // Topics that the right does not name.
  ['judged', 'subscribe', 'mine/judged/#', 'deny', 'allow'],
  // By `clientid_override` the id has two levels.
  ['judged', 'publish', 'of/judged/c1', 'allow'],
  ['judged', 'publish', 'of/c1', 'deny'],
  ['judged', 'publish', 'of/judged/c2', 'deny'],
  ['judged', 'publish', 'some/any', 'allow'],
  ['judged', 'publish', '$some/any', 'deny'],
];
