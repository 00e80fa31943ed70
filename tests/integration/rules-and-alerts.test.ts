import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { connect, type Sql } from '../../src/store/connection.ts';
import { startTestApp, type TestApp } from '../support/app.ts';
import {
  connectClient,
  type Heard,
  listen,
  query,
  subscribe,
  telemetryTopic,
} from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';

/** As a user types it. */
const STATEMENT = `
INSERT INTO user_configs (user_id, temperature_max, rules) VALUES ('user_123', 80.0,
 '[{"key":"battery","operator":"<","threshold":20.0,"message":"Critical Battery Level!"},
   {"key":"pressure","operator":">","threshold":105.5,"message":"Overpressure detected"}]'::jsonb)
ON CONFLICT (user_id) DO UPDATE SET rules = EXCLUDED.rules;`;
const WITHIN_A_SECOND = 1_000;

let app: TestApp;
let sql: Sql;
let client: MqttClient;
let heard: Heard[];
const leaves: (() => unknown)[] = [];
beforeAll(async () => {
  app = await startTestApp();
  sql = connect(app.databaseUrl, { max: 1 });
  client = await connectClient(app.mqttUrl);
  heard = await listen(client, 'users/+/#');
}, 60_000);
afterEach(async () => {
  for (const leave of leaves.splice(0)) await leave();
});
afterAll(async () => {
  await client.endAsync(true);
  await sql.end({ timeout: 1 });
  await app.remove();
}, 30_000);

const on = (topic: string) => heard.filter((message) => message.topic === topic);
/** The broadcast of rules in force that holds what was asked for. */
const broadcast = (user: string, holds: (config: Heard['json']) => boolean) =>
  eventually(
    `rules of ${user} are in force`,
    () => on(`users/${user}/config`).find(({ json }) => json?.etag && holds(json))?.json,
    WITHIN_A_SECOND,
  );
let sequence = 0;
const publish = (user: string, device: string, fields: object) =>
  client.publishAsync(
    telemetryTopic(user, device),
    JSON.stringify({ time: Date.now(), sequence_id: ++sequence, ...fields }),
    { qos: 1 },
  );

test('the password of the database is in a file for its owner alone', () => {
  const { mode } = statSync(join(app.dataDir, 'postgres-password'));
  expect(mode & 0o777).toBe(0o600);
});

test('a rule by SQL holds within a second; its alert fires once, and resolves once, on every way', async () => {
  const events = subscribe(
    app.graphqlUrl,
    'subscription { alertEvents(userId: "user_123", after: 0) { seq type message value alert { id ruleId } } }',
    'alertEvents',
  );
  leaves.push(events.leave);
  await sql.unsafe(STATEMENT);
  const { version, temperature_max, rules } = await broadcast('user_123', () => true);
  expect({ version, temperature_max }).toEqual({ version: 1, temperature_max: 80 });
  expect(rules).toMatchObject([
    { id: 'battery-lt', key: 'battery', operator: '<', threshold: 20 },
    { id: 'pressure-gt', key: 'pressure', operator: '>', threshold: 105.5 },
  ]);
  // For whoever comes later.
  const later = await connectClient(app.mqttUrl);
  leaves.push(() => later.endAsync(true));
  const retained = await listen(later, 'users/user_123/config');
  await eventually('the retained rules', () => retained.length > 0);
  expect(retained[0]).toMatchObject({ retain: true, json: { version: 1 } });

  // Again: no new version.
  await sql.unsafe(STATEMENT);
  for (const pressure of [100, 105.5, 106, 107, 108, 100, 99]) {
    await publish('user_123', 'pump_1', { pressure, battery: 50, temperature: 20 });
  }
  await publish('user_123', 'pump_1', { temperature: 80.1 });
  const alerts = await eventually('three transitions', () => {
    const messages = on('users/user_123/alerts');
    return messages.length >= 3 ? messages : null;
  });
  expect(alerts.map(({ json }) => [json.type, json.rule_id, json.value])).toEqual([
    ['FIRED', 'pressure-gt', 106],
    ['RESOLVED', 'pressure-gt', 100],
    ['FIRED', 'temperature-max', 80.1],
  ]);
  expect(alerts[0]?.json.message).toBe('Overpressure detected');
  await eventually('the subscription has them', () => events.events.length === 3);
  expect(events.errors).toEqual([]);
  expect(events.events.map(({ seq, type, alert }) => [seq, type, alert.id])).toEqual(
    alerts.map(({ json }) => [json.seq, json.type, json.id]),
  );
  const { user } = await query(
    app.graphqlUrl,
    '{ user(id: "user_123") { ruleSet { version } alerts { nodes { id ruleId status } } } }',
  );
  expect(user.ruleSet.version).toBe(1);
  expect(user.alerts.nodes).toMatchObject([
    { ruleId: 'temperature-max', status: 'FIRING' },
    { ruleId: 'pressure-gt', status: 'RESOLVED' },
  ]);
  expect(on('users/user_123/alerts')).toHaveLength(3);
}, 20_000);

test('a rule by MQTT, then by a mutation: each holds within a second', async () => {
  const config = {
    rules: [{ key: 'engine.rpm', operator: '>', threshold: 6000, message: 'fast' }],
  };
  await client.publishAsync('users/m/config', JSON.stringify(config), { qos: 1 });
  await broadcast('m', ({ version }) => version === 1);
  await publish('m', 'd', { engine: { rpm: 6001 } });
  await eventually('the alert', () => on('users/m/alerts').length === 1);
  expect(on('users/m/alerts')[0]?.json).toMatchObject({ rule_id: 'engine.rpm-gt', value: 6001 });

  // A field that is left out stays as it was.
  await client.publishAsync('users/m/config', '{"temperature_max": 70}', { qos: 1 });
  const { rules } = await broadcast('m', ({ version }) => version === 2);
  expect(rules).toHaveLength(1);

  await query(
    app.graphqlUrl,
    `mutation { upsertRule(userId: "m", rule: {
       key: "battery", operator: LT, threshold: 5, message: "low", severity: CRITICAL
     }) { version } }`,
  );
  const changed = await broadcast('m', ({ version }) => version === 3);
  expect(changed).toMatchObject({ temperature_max: 70, rules: [{}, { severity: 'CRITICAL' }] });
  await publish('m', 'd', { battery: 4, temperature: 71 });
  await eventually('both alerts', () => on('users/m/alerts').length === 3);
  expect(on('users/m/config/rejected')).toEqual([]);
}, 20_000);

test('an invalid config changes nothing, and its faults are answered', async () => {
  await client.publishAsync('users/i/config', '{"temperature_max": 50}', { qos: 1 });
  await broadcast('i', ({ version }) => version === 1);
  const invalid = [
    '{"temperature_max": "hot"}',
    '{"rules": [{"key": "a", "operator": "~", "threshold": 1, "message": "m"}]}',
    '{"rules": {}}',
    '{"temperature_max": 60, "surprise": 1}',
    '{"temperature_max": 60, "version": 7}',
    'no json',
    '[]',
  ];
  for (const [count, text] of invalid.entries()) {
    await client.publishAsync('users/i/config', text, { qos: 1 });
    await eventually(
      `${text} is answered`,
      () => on('users/i/config/rejected').length === count + 1,
      WITHIN_A_SECOND,
    );
  }
  for (const { json } of on('users/i/config/rejected')) {
    expect(json.issues[0].message).toBeString();
  }
  const { user } = await query(
    app.graphqlUrl,
    '{ user(id: "i") { ruleSet { version temperatureMax rules { ruleId } } } }',
  );
  expect(user.ruleSet).toMatchObject({ version: 1, temperatureMax: 50 });

  // By SQL the statement itself goes through; the rules before it stay in force.
  await sql`UPDATE user_configs SET rules = '[{"key": "a"}]' WHERE user_id = 'i'`;
  await eventually(
    'the statement is answered',
    () => on('users/i/config/rejected').length === invalid.length + 1,
    WITHIN_A_SECOND,
  );
  await publish('i', 'd', { temperature: 51 });
  await eventually('the rule before still holds', () => on('users/i/alerts').length === 1);
}, 20_000);
