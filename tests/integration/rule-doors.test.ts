import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { MqttClient } from 'mqtt';
import { connect, type Sql } from '../../src/store/connection.ts';
import { startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, type Heard, listen, query } from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';

const DEADLINE_MS = 20_000;
const DOORS = ['sql', 'mqtt', 'graphql'] as const;

/** With everything that a rule may have. */
const RULES = [
  {
    id: 'hot',
    key: 'temperature',
    operator: '>',
    threshold: 80,
    message: '{value} on {device_id}',
    severity: 'CRITICAL',
    enabled: true,
    devices: 'pump_*',
    for: 'PT5M',
    clear: { threshold: 75, for: 'PT1M' },
  },
  {
    id: 'state-ne',
    key: 'state',
    operator: '!=',
    threshold: 'OK',
    message: 'm',
    severity: 'WARNING',
    enabled: false,
  },
  { id: 'quiet', message: 'quiet', severity: 'INFO', enabled: true, noData: 'PT10M' },
];
const DISABLED = { hot: ['pump_7'], 'temperature-max': true };
/** The same as GraphQL has it; what is off has a mutation of its own. */
const INPUT = `[
  { ruleId: "hot", key: "temperature", operator: GT, threshold: 80, severity: CRITICAL,
    message: "{value} on {device_id}", devices: "pump_*", for: "5m",
    clear: { threshold: 75, for: "60s" } },
  { ruleId: "state-ne", key: "state", operator: NE, threshold: "OK", message: "m", enabled: false },
  { ruleId: "quiet", kind: NO_DATA, noData: "PT10M", message: "quiet", severity: INFO }]`;

let app: TestApp;
let sql: Sql;
let client: MqttClient;
let heard: Heard[];
beforeAll(async () => {
  app = await startTestApp();
  sql = connect(app.databaseUrl, { max: 1 });
  client = await connectClient(app.mqttUrl);
  heard = await listen(client, 'users/+/config/#');
}, 60_000);
afterAll(async () => {
  await client.endAsync(true);
  await sql.end({ timeout: 1 });
  await app.remove();
}, 30_000);

/** The newest broadcast of a user's rules. */
const broadcast = (user: string, version: number) =>
  eventually(
    `version ${version} of ${user} is broadcast`,
    () =>
      heard.findLast(
        ({ topic, json }) =>
          topic === `users/${user}/config` && json?.etag && json.version === version,
      ),
    DEADLINE_MS,
  );

const send = (user: string, text: string) =>
  client.publishAsync(`users/${user}/config`, text, { qos: 1 });

const mutate = (mutation: string) => query(app.graphqlUrl, `mutation { ${mutation} { version } }`);

const write: Record<(typeof DOORS)[number], (user: string) => Promise<unknown>> = {
  sql: (user) => sql`
    INSERT INTO user_configs (user_id, temperature_max, rules, disabled) VALUES
      (${user}, 90, ${sql.json(RULES as never)}, ${sql.json(DISABLED as never)})`,
  mqtt: (user) =>
    send(user, JSON.stringify({ temperature_max: 90, rules: RULES, disabled: DISABLED })),
  async graphql(user) {
    await mutate(`setRules(userId: "${user}", temperatureMax: 90, rules: ${INPUT})`);
    const off = `setRuleEnabled(userId: "${user}", enabled: false,`;
    await mutate(`${off} ruleId: "hot", deviceId: "pump_7")`);
    await mutate(`${off} ruleId: "temperature-max")`);
  },
};

/** What GraphQL, the broadcast and the table say of a user's rules. */
async function readings(user: string, version: number) {
  const { json } = await broadcast(user, version);
  const [row] = await sql`SELECT accepted FROM user_configs WHERE user_id = ${user}`;
  const { user: found } = await query(
    app.graphqlUrl,
    `{ user(id: "${user}") { ruleSet { temperatureMax rules { ruleId kind key operator threshold
       message severity for clear { threshold for } noData devices enabled disabledDevices } } } }`,
  );
  const { version: _version, etag: _etag, updated_at: _at, updated_by: _by, ...message } = json;
  return { graphql: found.ruleSet, mqtt: message, sql: row?.accepted };
}

test('rules read the same by every door, whatever door they came by', async () => {
  const found = [];
  for (const door of DOORS) {
    await write[door](`u_${door}`);
    found.push(await readings(`u_${door}`, door === 'graphql' ? 3 : 1));
  }
  const [bySql, byMqtt, byGraphql] = found;
  expect(bySql?.mqtt).toEqual({ temperature_max: 90, rules: RULES, disabled: DISABLED });
  expect(bySql?.sql).toEqual({
    shorthands: { temperature_max: 90 },
    rules: RULES,
    disabled: DISABLED,
  });
  expect(bySql?.graphql).toMatchObject({
    temperatureMax: 90,
    rules: [
      { ruleId: 'hot', for: 'PT5M', clear: { threshold: 75, for: 'PT1M' }, devices: 'pump_*' },
      { ruleId: 'state-ne', threshold: 'OK', enabled: false, disabledDevices: [] },
      { ruleId: 'quiet', kind: 'NO_DATA', noData: 'PT10M' },
    ],
  });
  expect(bySql?.graphql.rules[0].disabledDevices).toEqual(['pump_7']);
  expect(byMqtt).toEqual(bySql);
  expect(byGraphql).toEqual(bySql);
}, 60_000);

test('a broadcast that comes back, and the same rules by any other door, make no version', async () => {
  for (const door of DOORS) {
    const user = `e_${door}`;
    await write[door](user);
    const version = door === 'graphql' ? 3 : 1;
    const { text, json } = await broadcast(user, version);
    await send(user, text);
    // The same content in other words, and by the other doors.
    await send(user, text.replace('"PT5M"', '"300s"'));
    await mutate(`setRules(userId: "${user}", rules: ${INPUT})`);
    await sql`UPDATE user_configs SET rules = ${sql.json(json.rules)} WHERE user_id = ${user}`;
    await write.mqtt(user);
    // What follows is the next version: there was none between.
    await send(user, '{"temperature_max": 91}');
    await broadcast(user, version + 1);
    const rows = await sql`
      SELECT DISTINCT version FROM rule_changes WHERE user_id = ${user} ORDER BY version`;
    expect(rows).toHaveLength(version + 1);
  }
  expect(heard.filter(({ topic }) => topic.endsWith('/rejected'))).toEqual([]);
}, 60_000);
