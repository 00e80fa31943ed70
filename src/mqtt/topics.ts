import { checkedName, isTopicName } from '../domain/topic.ts';

/** The topics of one user beside telemetry, whose pattern is the model's (src/domain/topic.ts). */
export type UserTopicKind =
  | 'config'
  | 'config/rejected'
  | 'alerts'
  | 'alerts/manage'
  | 'alerts/manage/rejected';

export interface UserTopic {
  /** The subscription for every user: `users/+/config`. */
  readonly filter: string;
  /** The user of such a topic, null when it is another topic. */
  match(topic: string): string | null;
  /** @throws Error when the user's name can't stand in a topic */
  format(userId: string): string;
}

/** Rules in, and the accepted ones out, retained. */
export const configTopic = userTopic('config');
/** Faults of a config that was refused. */
export const configRejectedTopic = userTopic('config/rejected');
/** Alert transitions out. */
export const alertsTopic = userTopic('alerts');
/** Acknowledge, snooze, disable. */
export const manageTopic = userTopic('alerts/manage');
/** Faults of such an operation that was refused. */
export const manageRejectedTopic = userTopic('alerts/manage/rejected');

function userTopic(kind: UserTopicKind): UserTopic {
  const prefix = 'users/';
  const suffix = `/${kind}`;
  return {
    filter: `${prefix}+${suffix}`,
    match(topic) {
      if (!topic.startsWith(prefix) || !topic.endsWith(suffix)) return null;
      const userId = topic.slice(prefix.length, -suffix.length);
      return isTopicName(userId) ? userId : null;
    },
    format: (userId) => `${prefix}${checkedName(userId, 'user')}${suffix}`,
  };
}
