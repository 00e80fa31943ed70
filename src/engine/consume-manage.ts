import type { RuleOnDevice } from '../domain/alert-operation.ts';
import type { Issue } from '../domain/rule.ts';
import { type RuleSwitch, switchRule } from '../domain/rule-switch.ts';
import { MICROS_PER_MS } from '../domain/time.ts';
import {
  type ManageOperation,
  manageRejectedMessage,
  readManageMessage,
} from '../mqtt/manage-message.ts';
import { manageRejectedTopic, manageTopic } from '../mqtt/topics.ts';
import { acknowledge } from '../store/acknowledge.ts';
import { changeRules } from '../store/change-rules.ts';
import { devicesByKey } from '../store/devices-by-key.ts';
import { readRuleConfigs } from '../store/read-rule-configs.ts';
import { snooze } from '../store/snooze.ts';
import { unsnooze } from '../store/unsnooze.ts';
import { type Consuming, handleOnce, type Incoming, patientlyOrRefused } from './consume.ts';
import { sendAll } from './publish-port.ts';

const ACTOR = 'mqtt';

/**
 * Handles one message of users/+/alerts/manage; it may be acknowledged when this resolves, as what
 * it asked for is committed then, or refused on users/{user}/alerts/manage/rejected. A database or a
 * broker that is away is waited for; rejects only when the signal aborts, and the message comes
 * again. Handling it twice does no harm. One that the broker has retained is handled as it comes,
 * and not once more with each new subscription.
 */
export async function consumeManage(work: Consuming, message: Incoming): Promise<void> {
  const userId = manageTopic.match(message.topic);
  if (userId === null || message.retain) return;
  await handleOnce(work, userId, () => takeMessage(work, userId, message.payload));
}

async function takeMessage(work: Consuming, userId: string, payload: Uint8Array): Promise<void> {
  const at = Date.now() * MICROS_PER_MS;
  const message = readManageMessage(payload);
  if (message.kind === 'empty') return;
  const { issues } =
    message.kind === 'invalid'
      ? message
      : await patientlyOrRefused(work, userId, async () => ({
          issues: await operate(work, userId, message.operation),
        }));
  if (issues.length === 0) return;
  work.logger.info({ user: userId, issues }, 'an operation on alerts is refused');
  const text = manageRejectedMessage({ issues, subject: message.subject, at });
  const send = () => work.mqtt.publish(manageRejectedTopic.format(userId), text, { qos: 1 });
  await sendAll([{ send, about: { user: userId, issues } }], work);
}

/** Does it, or gives its faults. */
async function operate(
  work: Consuming,
  userId: string,
  operation: ManageOperation,
): Promise<Issue[]> {
  if (operation.action === 'SWITCH') return await turn(work, userId, operation);
  const { sql } = work;
  const rule = { userId, deviceId: operation.deviceId, ruleId: operation.ruleId };
  switch (operation.action) {
    case 'ACKNOWLEDGE': {
      if (await acknowledge(sql, { alert: rule, actor: ACTOR })) return [];
      const issues = await unknown(work, rule);
      const message = 'has never raised an alert on this device: there is nothing to acknowledge';
      return issues.length > 0 ? issues : [{ path: 'rule_id', message }];
    }
    case 'SNOOZE': {
      const issues = await unknown(work, rule);
      if (issues.length > 0) return issues;
      await snooze(sql, { rule, duration: operation.duration, actor: ACTOR });
      return [];
    }
    case 'UNSNOOZE':
      return (await unsnooze(sql, { rule, actor: ACTOR })) ? [] : await unknown(work, rule);
  }
}

async function turn(
  { sql, model, onChanged }: Consuming,
  userId: string,
  operation: RuleSwitch,
): Promise<Issue[]> {
  const result = await changeRules(sql, {
    userId,
    change: (current) =>
      switchRule(current, operation, model) ?? { issues: [noRule(operation.ruleId)] },
    actor: ACTOR,
    model,
  });
  if (result.kind === 'ok' && result.changed) onChanged(userId);
  if (result.kind !== 'invalid') return [];
  return result.issues.map(({ path, message }) => ({
    path: path.startsWith('disabled.') ? 'device_id' : path,
    message,
  }));
}

/** The faults of a name that is nobody's. */
async function unknown({ sql, model }: Consuming, rule: RuleOnDevice): Promise<Issue[]> {
  const { userId, deviceId, ruleId } = rule;
  const issues: Issue[] = [];
  if ((await devicesByKey(sql, [rule])).length === 0) {
    const message = `there is no device ${JSON.stringify(deviceId)}: nothing of it is stored`;
    issues.push({ path: 'device_id', message });
  }
  const { ruleSet } = (await readRuleConfigs(sql, { userIds: [userId], model })).get(userId) ?? {};
  if (!ruleSet?.all.some(({ id }) => id === ruleId)) issues.push(noRule(ruleId));
  return issues;
}

function noRule(ruleId: string): Issue {
  return { path: 'rule_id', message: `there is no rule ${JSON.stringify(ruleId)}` };
}
