import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import type { Issue } from '../domain/rule.ts';
import type { ConfigPatch } from '../domain/rule-config.ts';
import { mergeConfig } from '../domain/rule-content.ts';
import { MICROS_PER_MS } from '../domain/time.ts';
import { readConfigMessage, rejectedMessage } from '../mqtt/config-message.ts';
import { configRejectedTopic, configTopic } from '../mqtt/topics.ts';
import { changeRules } from '../store/change-rules.ts';
import type { Sql } from '../store/connection.ts';
import { failureKind } from '../store/failure.ts';
import { readRuleConfigs } from '../store/read-rule-configs.ts';
import { publishConfig } from './publish-configs.ts';
import type { PublishPort } from './publish-port.ts';
import { backoffMs, sleep } from './retry.ts';

export interface ConfigConsuming {
  sql: Sql;
  /** Another connection than the one that the messages come by, whose answers they hold up. */
  mqtt: PublishPort;
  model: Model;
  /** Called when rules were changed. */
  onChanged: (userId: string) => void;
  logger: Pick<Logger, 'warn' | 'error' | 'info'>;
  signal: AbortSignal;
}

/**
 * Handles one message of users/+/config; it may be acknowledged when this resolves. A database that
 * is away is waited for; rejects when the signal aborts or an answer can't be sent, and the message
 * comes again. Handling it twice does no harm.
 *
 * Whatever a message was, the retained one on its topic is our broadcast again afterwards: a clear,
 * a refused config and one that changed nothing are each followed by the rules in force.
 */
export async function consumeConfig(
  work: ConfigConsuming,
  { topic, payload }: { topic: string; payload: Uint8Array },
): Promise<void> {
  const userId = configTopic.match(topic);
  const message = readConfigMessage(payload, work.model);
  if (userId === null || message.kind === 'echo') return;
  const receivedAt = Date.now() * MICROS_PER_MS;
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
  if (issues.length > 0) {
    work.logger.info({ user: userId, issues }, 'a config message is refused');
    const text = rejectedMessage({ issues, at: receivedAt });
    await work.mqtt.publish(configRejectedTopic.format(userId), text, { qos: 1 });
  }
  await restoreBroadcast(work, userId);
}

/** Waits for the database. Gives the faults: none where the config was in force already. */
async function patientlyChange(
  work: ConfigConsuming,
  userId: string,
  config: ConfigPatch,
): Promise<'changed' | Issue[]> {
  return await patiently(work, async () => {
    const result = await changeRules(work.sql, {
      userId,
      change: (current) => mergeConfig(current, config, work.model),
      expectedVersion: config.version,
      actor: 'mqtt',
      model: work.model,
    }).catch((error: unknown) => {
      if (failureKind(error) === 'outage') throw error;
      work.logger.error({ err: error, user: userId }, 'a config message could not be taken over');
      const message = `could not be taken over: ${(error as Error).message}`;
      return { kind: 'invalid' as const, issues: [{ path: '', message }] };
    });
    switch (result.kind) {
      case 'ok':
        return result.changed ? 'changed' : [];
      case 'invalid':
        return result.issues;
      case 'conflict':
        return [{ path: 'version', message: conflict(config.version, result.version) }];
    }
  });
}

function conflict(given: number | undefined, version: number): string {
  return `is ${given}, but version ${version} is in force: start from that one, or leave it out`;
}

async function restoreBroadcast(work: ConfigConsuming, userId: string): Promise<void> {
  const config = await patiently(work, async () => {
    try {
      const configs = await readRuleConfigs(work.sql, { userIds: [userId], model: work.model });
      return configs.get(userId);
    } catch (error) {
      if (failureKind(error) === 'row') return undefined;
      throw error;
    }
  });
  // A user who has none, or no longer, gets no message that would have to be cleared again.
  if (config?.exists && config.ruleSet.version > 0) await publishConfig(work, config);
}

/** @throws Error when the signal aborts */
async function patiently<T>(
  { signal, logger }: ConfigConsuming,
  attemptIt: () => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await attemptIt();
    } catch (error) {
      if (attempt === 0) logger.warn({ err: error }, 'a config message waits for the database');
      await sleep(backoffMs(attempt), signal);
    }
  }
}
