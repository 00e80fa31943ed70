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
import type { BroadcastMemory } from './broadcast-memory.ts';
import { keepTrying, type PublishPort, type Sending, sendAll, whenBack } from './publish-port.ts';
import { sleep } from './retry.ts';

export interface ConfigPublishing {
  sql: Sql;
  /** Another connection than that of alerts: a config that the broker refuses may end it. */
  mqtt: PublishPort;
  memory: BroadcastMemory;
  model: Model;
  logger: Pick<Logger, 'warn' | 'error'>;
  signal: AbortSignal;
  patienceMs?: number;
  pollIntervalMs?: number;
}

const PAGE = 256;

/**
 * Broadcasts the rules of every user whose rules changed, as they are when the change is read, and
 * the faults of what SQL wrote wrong. At least once, from where the last publisher stopped; only
 * what the broker keeps refusing is left out. A deleted config is broadcast as an empty one with
 * its version. Ends on abort.
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
      logger.warn({ err: error }, 'config broadcasts wait for the database');
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
  const configOf = (userId: string) => configs.get(userId) as RuleConfig;
  const sendings = [
    ...[...broadcast].map((userId) => broadcasting(work, configOf(userId))),
    ...[...refused].map((userId) => refusing(work, configOf(userId))),
  ];
  await sendAll(sendings, work);
}

/** Sends what was read with the page; later, what is in force by then. */
function broadcasting(work: ConfigPublishing, config: RuleConfig): Sending {
  const { userId } = config.ruleSet;
  let isFirst = true;
  return {
    about: { user: userId, version: config.ruleSet.version },
    async send() {
      if (isFirst) {
        isFirst = false;
        return await publishConfig(work, config);
      }
      const configs = await keepTrying(
        () => readRuleConfigs(work.sql, { userIds: [userId], model: work.model }),
        work,
      );
      const now = configs?.get(userId);
      if (now !== undefined) await publishConfig(work, now);
    },
  };
}

/** Publishes a user's rules in force, retained. */
export async function publishConfig(
  { mqtt, memory, model, logger }: Pick<ConfigPublishing, 'mqtt' | 'memory' | 'model' | 'logger'>,
  config: RuleConfig,
): Promise<void> {
  const { userId, version } = config.ruleSet;
  if (!isTopicName(userId)) {
    logger.warn({ user: userId }, 'the config of a user whose name no topic can hold is not sent');
    return;
  }
  const message = configMessage(config, model);
  memory.sending(userId, version);
  try {
    await mqtt.publish(configTopic.format(userId), message, { qos: 1, retain: true });
  } catch (error) {
    memory.failed(userId);
    throw error;
  }
}

function refusing({ mqtt }: ConfigPublishing, config: RuleConfig): Sending {
  const { userId } = config.ruleSet;
  const { issues, reviewedVersion: version } = config;
  return {
    about: { user: userId, version, issues },
    async send() {
      if (!isTopicName(userId)) return;
      const message = rejectedMessage({ issues, version, at: Date.now() * MICROS_PER_MS });
      await mqtt.publish(configRejectedTopic.format(userId), message, { qos: 1 });
    },
  };
}
