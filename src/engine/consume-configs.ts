import type { Model } from '../domain/model.ts';
import type { Issue } from '../domain/rule.ts';
import type { ConfigPatch } from '../domain/rule-config.ts';
import { mergeConfig } from '../domain/rule-content.ts';
import { MICROS_PER_MS } from '../domain/time.ts';
import { configMessage, readConfigMessage, rejectedMessage } from '../mqtt/config-message.ts';
import { configRejectedTopic, configTopic } from '../mqtt/topics.ts';
import { changeRules } from '../store/change-rules.ts';
import { failureKind } from '../store/failure.ts';
import { type RuleConfig, readRuleConfigs } from '../store/read-rule-configs.ts';
import type { BroadcastMemory } from './broadcast-memory.ts';
import {
  type Consuming,
  handleOnce,
  type Incoming,
  patiently,
  patientlyOrRefused,
} from './consume.ts';
import { publishConfig } from './publish-configs.ts';
import { sendAll } from './publish-port.ts';

export interface ConfigConsuming extends Consuming {
  memory: BroadcastMemory;
}

/**
 * Handles one message of users/+/config; it may be acknowledged when this resolves. A database or a
 * broker that is away is waited for; rejects only when the signal aborts, and the message comes
 * again. Handling it twice does no harm.
 *
 * Whatever a message was, the retained one on its topic is our broadcast again afterwards: a clear,
 * a refused config, one that changed nothing and an old broadcast are each followed by the rules in
 * force. Not for ever: a broadcast that something else keeps replacing is left as it is.
 */
export async function consumeConfig(
  work: ConfigConsuming,
  { topic, payload }: Incoming,
): Promise<void> {
  const userId = configTopic.match(topic);
  if (userId === null) return;
  await handleOnce(work, userId, () => takeMessage(work, userId, payload));
}

async function takeMessage(
  work: ConfigConsuming,
  userId: string,
  payload: Uint8Array,
): Promise<void> {
  const receivedAt = Date.now() * MICROS_PER_MS;
  const message = readConfigMessage(payload, work.model);
  if (message.kind === 'echo') return await takeEcho(work, userId, message.version);
  const issues = message.kind === 'invalid' ? message.issues : [];
  if (message.kind === 'config') {
    const result = await patientlyChange(work, userId, message.config);
    if (result === 'changed') {
      // Its broadcast follows from the change itself.
      work.onChanged(userId);
      return;
    }
    issues.push(...result);
  }
  const current = await inForce(work, userId);
  // Ours, though it isn't read as such: its rules are of a time when they were valid.
  if (current !== undefined && isBroadcast(payload, current, work.model)) return;
  if (issues.length > 0) {
    work.logger.info({ user: userId, issues }, 'a config message is refused');
    const text = rejectedMessage({ issues, at: receivedAt });
    const send = () => work.mqtt.publish(configRejectedTopic.format(userId), text, { qos: 1 });
    await sendAll([{ send, about: { user: userId, issues } }], work);
  }
  // A user who has none, or no longer, gets no message that would have to be cleared again.
  if (current?.exists) await restoreBroadcast(work, current);
}

/** An old broadcast, of a publisher that stood still, takes the place of the newest: not for long. */
async function takeEcho(work: ConfigConsuming, userId: string, version: number): Promise<void> {
  if (work.memory.cameBack(userId, version) !== 'unknown') return;
  const current = await inForce(work, userId);
  if (current === undefined || version === current.ruleSet.version) return;
  if (version < current.ruleSet.version || current.exists) await restoreBroadcast(work, current);
}

function isBroadcast(payload: Uint8Array, current: RuleConfig, model: Model): boolean {
  return Buffer.from(configMessage(current, model)).equals(payload);
}

/** Waits for the database. Gives the faults: none where the config was in force already. */
async function patientlyChange(
  work: ConfigConsuming,
  userId: string,
  config: ConfigPatch,
): Promise<'changed' | Issue[]> {
  const result = await patientlyOrRefused(work, userId, () =>
    changeRules(work.sql, {
      userId,
      change: (current) => mergeConfig(current, config, work.model),
      expectedVersion: config.version,
      actor: 'mqtt',
      model: work.model,
    }),
  );
  switch (result.kind) {
    case 'ok':
      return result.changed ? 'changed' : [];
    case 'invalid':
      return result.issues;
    case 'conflict':
      return [{ path: 'version', message: conflict(config.version, result.version) }];
  }
}

function conflict(given: number | undefined, version: number): string {
  return `is ${given}, but version ${version} is in force: start from that one, or leave it out`;
}

/** Undefined where they can't be read, whatever is done. */
async function inForce(work: ConfigConsuming, userId: string): Promise<RuleConfig | undefined> {
  return await patiently(work, async () => {
    try {
      const configs = await readRuleConfigs(work.sql, { userIds: [userId], model: work.model });
      return configs.get(userId);
    } catch (error) {
      if (failureKind(error) === 'outage') throw error;
      work.logger.error({ err: error, user: userId }, 'the rules in force could not be read');
      return undefined;
    }
  });
}

async function restoreBroadcast(work: ConfigConsuming, current: RuleConfig): Promise<void> {
  const { userId, version } = current.ruleSet;
  if (version === 0) return;
  const may = work.memory.mayRestore(userId);
  if (may === 'no again') return;
  if (may === 'no') {
    const message =
      'the broadcast of a config is replaced again and again, and left as it is: ' +
      'does another deployment use this MQTT broker?';
    // Any user can bring it about, by configs of old that are sent again.
    work.logger.warn({ user: userId, version }, message);
    return;
  }
  const send = () => publishConfig(work, current);
  await sendAll([{ send, about: { user: userId, version } }], work);
}
