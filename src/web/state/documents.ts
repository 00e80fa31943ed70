/**
 * Every operation of the dashboard; a test checks them against schema.graphql. What depends on the
 * model is a function of its fields.
 */
const PAGE_INFO = 'pageInfo { hasNextPage endCursor }';
const reading = (fields: string) => `time sequenceId ${fields} extraData`;
const ALERT = `
  id status severity message ruleId key operator threshold value startedAt lastSeenAt resolvedAt
  resolveReason acknowledgedAt acknowledgedBy snoozedUntil user { id } device { deviceId }`;
const RULE = `
  ruleId kind key operator threshold for clear { threshold for } noData severity message devices
  enabled disabledDevices`;
const ruleSet = (shorthands: string) => `
  version updatedAt updatedBy issues { path message } ${shorthands} rules { ${RULE} }`;
const INGEST = `
  lag rate newestAlertSeq counters { records live late deadLetters }
  partitions { partition lag rate watermarkAge state problem }`;
const POINTS = 'key known bucket points { start end count avg min max }';

export const ME = 'query Me { me { id } }';
export const USERS = `query Users($after: String) {
  users(first: 1000, after: $after) { nodes { id } ${PAGE_INFO} }
}`;

const deviceFields = (fields: string) => `deviceId lastSeenAt latest { ${reading(fields)} }`;
/** The first devices of many users: a fleet of small owners in few requests. */
export const fleet = (fields: string) => `query Fleet($after: String) {
  users(first: 40, after: $after) {
    nodes { id devices(first: 100) { nodes { ${deviceFields(fields)} } ${PAGE_INFO} } }
    ${PAGE_INFO}
  }
}`;
export const devices = (fields: string) => `query Devices($userId: ID!, $after: String) {
  user(id: $userId) {
    devices(first: 1000, after: $after) { nodes { ${deviceFields(fields)} } ${PAGE_INFO} }
  }
}`;
export const DEVICE_NAMES = `query DeviceNames($userId: ID!) {
  user(id: $userId) { devices(first: 200) { nodes { deviceId } } }
}`;
/** Some devices by name: `u0`, `d0`, and so on. */
export const someDevices = (fields: string, count: number) => {
  const each = Array.from({ length: count }, (_, at) => at);
  const variables = each.map((at) => `$u${at}: ID!, $d${at}: ID!`).join(', ');
  const picks = each.map(
    (at) => `n${at}: user(id: $u${at}) { device(deviceId: $d${at}) { ${deviceFields(fields)} } }`,
  );
  return `query SomeDevices(${variables}) { ${picks.join(' ')} }`;
};

export const INGEST_STATUS = `subscription Ingest { ingestStatus { ${INGEST} } }`;
export const ALERT_COUNTS = `query Counts($userId: ID) {
  alertCounts(userId: $userId) { severity count }
}`;
export const DEAD_LETTER_COUNTS =
  'query DeadLetterCounts { deadLetterCounts { reason count replayed } }';

export const ALL_ALERTS = `query AllAlerts($after: String, $status: [AlertStatus!]) {
  alerts(first: 500, after: $after, status: $status) {
    nodes { ${ALERT} events { seq } } ${PAGE_INFO}
  }
}`;
export const USER_ALERTS = `query UserAlerts(
  $userId: ID!, $after: String, $status: [AlertStatus!]
) {
  user(id: $userId) {
    alerts(first: 500, after: $after, status: $status) {
      nodes { ${ALERT} events { seq } } ${PAGE_INFO}
    }
  }
}`;
export const ALERT_EVENTS = `subscription AlertEvents($userId: ID, $after: SafeInt) {
  alertEvents(userId: $userId, after: $after) { seq type alert { ${ALERT} } }
}`;
export const ALERT_DETAIL = `query AlertDetail($id: ID!) {
  alert(id: $id) {
    ${ALERT} ruleVersion
    evidence { eventTime arrivalTime holdingSince partition offset sequenceId }
    events { seq type time value message actor }
  }
}`;
export const ACKNOWLEDGE = `mutation Acknowledge($id: ID!) {
  acknowledgeAlert(id: $id) { ${ALERT} }
}`;
export const SNOOZE = `mutation Snooze($id: ID!, $for: Duration!) {
  snoozeAlert(id: $id, for: $for) { ${ALERT} }
}`;
export const UNSNOOZE = `mutation Unsnooze($id: ID!) { unsnoozeAlert(id: $id) { ${ALERT} } }`;

export const device = (fields: string) => `query Device($userId: ID!, $deviceId: ID!) {
  user(id: $userId) {
    device(deviceId: $deviceId) {
      firstSeenAt lastSeenAt readings(first: 50) { nodes { ${reading(fields)} } }
    }
  }
}`;
export const TELEMETRY = `query Telemetry(
  $userId: ID!, $deviceId: ID!, $keys: [String!]!, $from: DateTime!, $to: DateTime!
  $maxPoints: Int, $timezone: TimeZone
) {
  user(id: $userId) {
    device(deviceId: $deviceId) {
      telemetry(keys: $keys, from: $from, to: $to, maxPoints: $maxPoints, timezone: $timezone) {
        ${POINTS}
      }
    }
  }
}`;
const EPISODE = 'nodes { id severity message key ruleId startedAt resolvedAt }';
export const EPISODES = `query Episodes(
  $userId: ID!, $deviceId: ID!, $from: DateTime!, $to: DateTime!
) {
  user(id: $userId) {
    inRange: alerts(first: 200, deviceId: $deviceId, from: $from, to: $to) { ${EPISODE} }
    open: alerts(first: 50, deviceId: $deviceId, to: $to, status: [FIRING]) { ${EPISODE} }
  }
}`;
export const EXPLAIN = `query Explain($userId: ID!, $deviceId: ID!) {
  user(id: $userId) {
    device(deviceId: $deviceId) {
      explainRules {
        status reason since value lateReadings snoozedUntil
        rule { ruleId kind key operator threshold clear { threshold } noData severity }
      }
    }
  }
}`;
export const readings = (fields: string) => `subscription Readings($userId: ID, $deviceId: ID!) {
  readings(userId: $userId, deviceId: $deviceId) { ${reading(fields)} }
}`;

export const rules = (shorthands: string) => `query Rules($userId: ID!) {
  user(id: $userId) { ruleSet { ${ruleSet(shorthands)} } }
}`;
export const upsertRule = (shorthands: string) => `mutation Upsert(
  $userId: ID, $rule: RuleInput!, $expectedVersion: Int
) {
  upsertRule(userId: $userId, rule: $rule, expectedVersion: $expectedVersion) {
    ${ruleSet(shorthands)}
  }
}`;
export const deleteRule = (shorthands: string) => `mutation Delete(
  $userId: ID, $ruleId: ID!, $expectedVersion: Int
) {
  deleteRule(userId: $userId, ruleId: $ruleId, expectedVersion: $expectedVersion) {
    ${ruleSet(shorthands)}
  }
}`;
export const enableRule = (shorthands: string) => `mutation Enable(
  $userId: ID, $ruleId: ID!, $enabled: Boolean!
) {
  setRuleEnabled(userId: $userId, ruleId: $ruleId, enabled: $enabled) { ${ruleSet(shorthands)} }
}`;
export const setShorthand = (shorthands: string, field: string) => `mutation Shorthand(
  $userId: ID, $value: Float, $expectedVersion: Int
) {
  setRules(userId: $userId, ${field}: $value, expectedVersion: $expectedVersion) {
    ${ruleSet(shorthands)}
  }
}`;
export const history = (shorthands: string) => `query History($userId: ID!, $after: String) {
  user(id: $userId) {
    ruleChanges(first: 20, after: $after) {
      nodes { version kind actor changedAt rules ${shorthands} issues { path message } }
      ${PAGE_INFO}
    }
  }
}`;
export const BACKTEST = `query Backtest(
  $userId: ID!, $rule: RuleInput!, $from: DateTime!, $to: DateTime!, $deviceIds: [ID!]
) {
  user(id: $userId) {
    backtest(rule: $rule, from: $from, to: $to, deviceIds: $deviceIds) {
      devices readings episodeCount firingAtEnd liveEpisodes firing notes
      episodes { deviceId startedAt resolvedAt message }
    }
  }
}`;

export const DEAD_LETTERS = `query DeadLetters($after: String, $reason: String) {
  deadLetters(first: 50, after: $after, reason: $reason) {
    nodes {
      id time topic reason detail payload partition offset replayedAt replayedBy
    }
    ${PAGE_INFO}
  }
}`;
export const REPLAY = `mutation Replay($ids: [ID!], $reason: String) {
  replayDeadLetters(ids: $ids, reason: $reason) { matched replayed failed more problem }
}`;
export const PUBLISH = `mutation Publish($userId: ID, $deviceId: ID!, $reading: JSON!) {
  publishReading(userId: $userId, deviceId: $deviceId, reading: $reading)
}`;
