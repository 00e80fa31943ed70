import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { MqttClient } from 'mqtt';
import { ConfigError, loadConfig, SETTINGS } from '../../../../src/config.ts';
import { parseJson } from '../../../../src/domain/json.ts';
import type { RuleSet } from '../../../../src/domain/rule.ts';
import { parseConfig } from '../../../../src/domain/rule-config.ts';
import { etag, mergeConfig, NO_CONTENT, toRuleSet } from '../../../../src/domain/rule-content.ts';
import { model } from '../../../../src/model.ts';
import { readConfigMessage } from '../../../../src/mqtt/config-message.ts';
import { readManageMessage } from '../../../../src/mqtt/manage-message.ts';
import { rawBytes } from '../bytes.ts';
import { type Fuzz, within } from '../fuzz.ts';
import { awkwardValue, configBytes, manageBytes, readingBytes } from '../payloads.ts';
import type { FuzzStage } from '../stage.ts';

const isStorable = (text: string) => text.isWellFormed() && !text.includes('\0');

/** @throws where they are not valid */
export function ruleSetOf(rules: unknown): RuleSet {
  const parsed = parseConfig({ rules }, model);
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return toRuleSet({
    userId: 'fuzz',
    version: 1,
    content: mergeConfig(NO_CONTENT, parsed.config, model),
    model,
  });
}

/** A config is accepted, and then so is what is written of it; or its faults can be stored. */
export function fuzzConfigParsers(): Fuzz {
  return {
    name: 'config and manage messages',
    door: 'config',
    isSocket: false,
    share: 300,
    runsInBatch: 4_000,
    property: (count) =>
      fc.property(configBytes, manageBytes, (config, manage) => {
        count(2);
        const message = readConfigMessage(config, model);
        if (message.kind === 'invalid') {
          assert.ok(message.issues.every((each) => isStorable(each.path + each.message)));
        } else if (message.kind === 'config') {
          const content = mergeConfig(NO_CONTENT, message.config, model);
          const { shorthands, rules, disabled } = content;
          const broadcast = JSON.stringify({ ...shorthands, rules, disabled });
          const again = parseConfig(parseJson(broadcast), model);
          assert.ok(again.ok, JSON.stringify(again));
          assert.equal(etag(mergeConfig(NO_CONTENT, again.config, model), 1), etag(content, 1));
          toRuleSet({ userId: 'fuzz', version: 1, content, model });
        }
        const operation = readManageMessage(manage);
        if (operation.kind === 'invalid') {
          assert.ok(operation.issues.every((each) => isStorable(each.path + each.message)));
        }
        return true;
      }),
  };
}

const names = Object.values(SETTINGS).map(({ name }) => name);
const environment = fc.dictionary(
  fc.oneof({ arbitrary: fc.constantFrom(...names), weight: 9 }, fc.string({ maxLength: 20 })),
  fc.oneof(
    fc.constantFrom(
      'on',
      'off',
      '0',
      '-1',
      '65536',
      '1e3',
      '5m',
      'PT1M',
      '1GiB',
      'localhost',
      '::1',
    ),
    fc.constantFrom(
      '0.0.0.0',
      'mqtt://a:b@c',
      'postgres://',
      'http://x',
      '*',
      'a,b',
      '/etc/hostname',
    ),
    fc.string({ unit: 'binary', maxLength: 40 }),
    awkwardValue,
  ),
  { maxKeys: 6 },
);

/** The environment is a config, or a list of faults, each of which names its variable. */
export function fuzzEnvironment(): Fuzz {
  return {
    name: 'settings of the environment',
    door: 'config',
    isSocket: false,
    share: 50,
    runsInBatch: 1_000,
    property: (count) =>
      fc.property(environment, (env) => {
        count(1);
        try {
          loadConfig(env);
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          assert.ok(
            error.faults.length > 0 && error.faults.every((fault) => /^[^:]+[: ]/.test(fault)),
          );
        }
        return true;
      }),
  };
}

const payload = fc.oneof(
  fc.tuple(fc.constant('users/fuzz/config'), configBytes),
  fc.tuple(fc.constant('users/fuzz/alerts/manage'), manageBytes),
  fc.tuple(
    fc.constantFrom('users/fuzz/devices/pump/telemetry', 'users/fuzz/devices/fan/telemetry'),
    fc.oneof(readingBytes, rawBytes),
  ),
);

/** Payloads by MQTT at QoS 1: each is acknowledged, and a valid config comes back afterwards. */
export async function fuzzPayloads(stage: FuzzStage): Promise<Fuzz & { close(): Promise<void> }> {
  const client: MqttClient = await stage.connectMqtt('fuzz');
  let wanted = 1_000;
  let back = (_: number) => {};
  client.on('message', (_topic, bytes) => {
    // What others of it are is what was sent.
    const [, maximum] = /"temperature_max":(\d+),.*"etag"/.exec(bytes.toString()) ?? [];
    back(Number(maximum));
  });
  await client.subscribeAsync('users/fuzz/config', { qos: 1 });
  return {
    name: 'config, manage and telemetry payloads by MQTT',
    door: 'config',
    isSocket: true,
    share: 20,
    runsInBatch: 60,
    property: (count) =>
      fc.asyncProperty(fc.array(payload, { minLength: 1, maxLength: 30 }), async (payloads) => {
        count(payloads.length);
        const sent = payloads.map(([topic, bytes]) =>
          client.publishAsync(topic, Buffer.from(bytes), { qos: 1 }),
        );
        await within('PUBACK', Promise.all(sent));
        return true;
      }),
    async probe() {
      const maximum = ++wanted;
      const isBack = new Promise<void>((resolve) => {
        back = (value) => {
          if (value === maximum) resolve();
        };
      });
      const config = JSON.stringify({ temperature_max: maximum, rules: [], disabled: {} });
      await client.publishAsync('users/fuzz/config', config, { qos: 1 });
      await within('the broadcast of a valid config', isBack);
    },
    close: () => client.endAsync(true),
  };
}
