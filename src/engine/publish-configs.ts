import type { Logger } from 'pino';
import type { Model } from '../domain/model.ts';
import { MICROS_PER_MS } from '../domain/time.ts';
import { isTopicName } from '../domain/topic.ts';
import { configMessage, rejectedMessage } from '../mqtt/config-message.ts';
import { configRejectedTopic, configTopic } from '../mqtt/topics.ts';
import type { Sql } from '../store/connection.ts';
import { movePublisherPosition, publisherPosition } from '../store/publisher-position.ts';
import { type RuleConfig, readRuleConfigs } from '../store/read-rule-configs.ts';
import { type RuleChangeRow, ruleChangesAfter } from '../store/rule-changes-after.ts';
import { keepTrying, type PublishPort, whenBack } from './publish-port.ts';
import { sleep } from './retry.ts';

export interface ConfigPublishing {
  sql: Sql;
  mqtt: PublishPort;
  model: Model;
  logger: Pick<Logger, 'warn' | 'error'>;
  signal: AbortSignal;
  pollIntervalMs?: number;
}

const PAGE = 256;

/**
 * Broadcasts the rules of every user whose rules changed, as they are when the change is read, and
 * the faults of what SQL wrote wrong. At least once, from where the last publisher stopped. A
 * deleted config is broadcast as an empty one with its version. Ends on abort.
 */
export async function publishConfigs(work: ConfigPublishing): Promise<void> {
  const { sql, mqtt, logger, signal, pollIntervalMs = 250 } = work;
  const start = await keepTrying(() => publisherPosition(sql, 'configs'), work);
  if (start === null) return;
  for (let position = start; !signal.aborted; ) {
    const page = await keepTrying(
      () => ruleChangesAfter(sql, { after: position, limit: PAGE }),
      work,
    );
    const last = page?.at(-1);
    if (page === null || last === undefined) {
      await sleep(pollIntervalMs, signal);
      continue;
    }
    try {
      await publishPage(work, page);
      await movePublisherPosition(sql, { stream: 'configs', to: last.seq });
      position = last.seq;
    } catch (error) {
      if (signal.aborted) return;
      logger.warn({ err: error }, 'config broadcasts wait for the MQTT broker or the database');
      await whenBack(mqtt, signal);
    }
  }
}

async function publishPage(work: ConfigPublishing, page: RuleChangeRow[]): Promise<void> {
  const effective = page.filter((change) => change.kind !== 'WRITTEN');
  const userIds = new Set(effective.map((change) => change.userId));
  const configs = await readRuleConfigs(work.sql, { userIds, model: work.model });
  const broadcast = new Set<string>();
  const refused = new Set<string>();
  for (const { userId, version } of effective) {
    const config = configs.get(userId) as RuleConfig;
    // What was overtaken is left to the change that overtook it, in this page or a later one.
    if (version === config.ruleSet.version) broadcast.add(userId);
    else if (config.issues.length > 0 && version === config.reviewedVersion) refused.add(userId);
  }
  await Promise.all([
    ...[...broadcast].map((userId) => publishConfig(work, configs.get(userId) as RuleConfig)),
    ...[...refused].map((userId) => publishRefusal(work, configs.get(userId) as RuleConfig)),
  ]);
}

/** Publishes a user's rules in force, retained. */
export async function publishConfig(
  { mqtt, model, logger }: Pick<ConfigPublishing, 'mqtt' | 'model' | 'logger'>,
  config: RuleConfig,
): Promise<void> {
  const { userId } = config.ruleSet;
  if (!isTopicName(userId)) {
    logger.warn({ user: userId }, 'the config of a user whose name no topic can hold is not sent');
    return;
  }
  const message = configMessage(config, model);
  await mqtt.publish(configTopic.format(userId), message, { qos: 1, retain: true });
}

async function publishRefusal({ mqtt }: ConfigPublishing, config: RuleConfig): Promise<void> {
  const { userId } = config.ruleSet;
  if (!isTopicName(userId)) return;
  const { issues, reviewedVersion: version } = config;
  const message = rejectedMessage({ issues, version, at: Date.now() * MICROS_PER_MS });
  await mqtt.publish(configRejectedTopic.format(userId), message, { qos: 1 });
}
