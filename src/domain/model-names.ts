/** Names that a model may not use, and what its names are in GraphQL. */

/** Tables beside the readings, which are the same under every model. */
export const TABLES = [
  'alert_events',
  'alerts',
  'dead_letters',
  'device_state',
  'mqtt_accounts_version',
  'mqtt_acl',
  'mqtt_users',
  'publisher_positions',
  'rollup_marks',
  'rollup_progress',
  'rollups',
  'rule_changes',
  'schema_migrations',
  'snoozes',
  'spatial_ref_sys',
  'stream_model',
  'user_configs',
  'watermarks',
];

/** What PostgreSQL 18 takes in quotes only: `pg_get_keywords()`, catcode R and T. */
export const RESERVED_WORDS: ReadonlySet<string> = new Set(
  (
    'all analyse analyze and any array as asc asymmetric authorization binary both case cast ' +
    'check collate collation column concurrently constraint create cross current_catalog ' +
    'current_date current_role current_schema current_time current_timestamp current_user ' +
    'default deferrable desc distinct do else end except false fetch for foreign freeze from ' +
    'full grant group having ilike in initially inner intersect into is isnull join lateral ' +
    'leading left like limit localtime localtimestamp natural not notnull null offset on only or ' +
    'order outer overlaps placing primary references returning right select session_user similar ' +
    'some symmetric system_user table tablesample then to trailing true union unique user using ' +
    'variadic verbose when where window with'
  ).split(' '),
);

/** What queries call the columns of the key, whatever the model calls them. */
export const GENERIC = ['time', 'user_id', 'device_id', 'sequence_id'];

/** Of Reading in GraphQL, beside the model's. */
export const READING_FIELDS = ['time', 'deviceId', 'sequenceId', 'extraData'];

/** Beside shorthands: columns of user_configs, fields of a config, of RuleSet and RuleChange. */
export const CONFIG_FIELDS = [
  'user_id',
  'rules',
  'rules_written',
  'disabled',
  'version',
  'etag',
  'updated_at',
  'updated_by',
  'accepted',
  'accepted_version',
  'accepted_at',
  'accepted_by',
  'reviewed_version',
  'issues',
  'expected_version',
  'changed_at',
  'actor',
  'kind',
];

/** `temperature_max` is `temperatureMax` in GraphQL. */
export function fieldName(column: string): string {
  return column.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
