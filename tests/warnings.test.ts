import { expect, test } from 'bun:test';
import { loadConfig } from '../src/config.ts';
import { warningsOf } from '../src/warnings.ts';

const KAFKA = { KAFKA_BROKERS: '127.0.0.1:9092', DATABASE_URL: 'postgres://a:b@127.0.0.1/c' };
const SECRET = { AUTH_JWT_SECRET: 'x'.repeat(64) };
const OUTSIDE = { MQTT_URL: 'mqtt://127.0.0.1:1884' };
const warnings = (env: Record<string, string>) => warningsOf(loadConfig(env));

test('the embedded broker beside Kafka, or beside tokens, is warned of in a line each', () => {
  expect(warnings({})).toEqual([]);
  expect(warnings(KAFKA)).toEqual([
    expect.stringMatching(/^KAFKA_BROKERS without MQTT_URL: .*set MQTT_URL/),
  ]);
  expect(warnings(SECRET)).toEqual([
    expect.stringMatching(/^AUTH_JWT_SECRET guards the API only: .*asks for no login/),
  ]);
  expect(warnings({ ...SECRET, MQTT_AUTH: 'on' })).toEqual([]);
  expect(warnings({ ...SECRET, HOST: '0.0.0.0' })).toEqual([]);
  expect(warnings({ ...KAFKA, ...SECRET })).toHaveLength(2);
  expect(warnings({ ...KAFKA, ...SECRET, ...OUTSIDE })).toEqual([]);
});
