/** MQTT topics with the names of a user and a device in them. Pure: no client, no broker. */
import type { Model } from './model.ts';

export interface TopicNames {
  userId: string;
  deviceId: string;
}

/** One device as one text: the key of its log records, and of it in maps. No name holds a slash. */
export function deviceKey({ userId, deviceId }: TopicNames): string {
  return `${userId}/${deviceId}`;
}

export interface TopicPattern {
  /** The subscription that takes in every such topic: `users/+/devices/+/telemetry`. */
  readonly filter: string;
  /** The names in a topic, null when it isn't one of this pattern. */
  match(topic: string): TopicNames | null;
  /** @throws Error when a name can't stand in a topic, or the user isn't the one of all readings */
  format(names: TopicNames): string;
  /**
   * True for a topic that was probably meant as this one, whether it matches or not: it ends in the
   * pattern's last literal levels (`/telemetry`), or begins with its first ones where it ends in a
   * name. Such a message becomes a dead letter, not silence.
   */
  resembles(topic: string): boolean;
}

const PLACEHOLDER = /^\{(.*)\}$/;

/** Of every user, whatever the model: rules in, alerts out. Telemetry may not be sent to them. */
export const USER_TOPICS = [
  'users/+/config',
  'users/+/config/rejected',
  'users/+/alerts',
  'users/+/alerts/manage',
  'users/+/alerts/manage/rejected',
];

const UNFIT = ['/', '+', '#', '\0'];

/** Whether a user or device name can be one level of a topic: not empty, no `/`, `+`, `#` or NUL. */
export function isTopicName(name: string): boolean {
  return name.length > 0 && !UNFIT.some((character) => name.includes(character));
}

/** A pattern's levels: `{device_id}` has a name, `devices` has none. */
export function patternLevels(pattern: string): { literal: string; name: string | null }[] {
  return pattern
    .split('/')
    .map((literal) => ({ literal, name: PLACEHOLDER.exec(literal)?.[1] ?? null }));
}

/** Compiles a model's topic: literal levels, and the columns of owner and device in braces. */
export function compileTopic(model: Pick<Model, 'topic' | 'owner' | 'device'>): TopicPattern {
  const parsed = patternLevels(model.topic);
  const levels = parsed.map(({ literal }) => literal);
  const names = parsed.map(({ name }) => name);
  const { owner, device } = model;
  const constant = 'constant' in owner ? owner.constant : null;
  const userLevel = 'column' in owner ? names.indexOf(owner.column) : -1;
  const deviceLevel = names.indexOf(device.column);
  const lastName = Math.max(userLevel, deviceLevel);
  const firstName = userLevel === -1 ? deviceLevel : Math.min(userLevel, deviceLevel);
  const suffix = lastName < levels.length - 1 ? `/${levels.slice(lastName + 1).join('/')}` : null;
  const prefix = firstName > 0 ? `${levels.slice(0, firstName).join('/')}/` : null;

  function match(topic: string): TopicNames | null {
    const parts = topic.split('/');
    if (parts.length !== levels.length) return null;
    for (let i = 0; i < levels.length; i++) {
      if (names[i] === null && parts[i] !== levels[i]) return null;
    }
    const userId = constant ?? (parts[userLevel] as string);
    const deviceId = parts[deviceLevel] as string;
    return isTopicName(userId) && isTopicName(deviceId) ? { userId, deviceId } : null;
  }

  function format({ userId, deviceId }: TopicNames): string {
    const parts = [...levels];
    if (constant === null) parts[userLevel] = checkedName(userId, 'user');
    else if (userId !== constant) {
      throw new Error(`user name ${JSON.stringify(userId)}: all readings are of "${constant}"`);
    }
    parts[deviceLevel] = checkedName(deviceId, 'device');
    return parts.join('/');
  }

  function resembles(topic: string): boolean {
    if (topic.startsWith('$')) return false;
    if (suffix !== null) return topic.endsWith(suffix) || topic === suffix.slice(1);
    return prefix === null ? match(topic) !== null : topic.startsWith(prefix);
  }

  const filter = levels.map((level, index) => (names[index] === null ? level : '+')).join('/');
  return { filter, match, format, resembles };
}

/** @throws Error when the name can't be a level of a topic */
export function checkedName(name: string, what: 'user' | 'device'): string {
  if (isTopicName(name)) return name;
  throw new Error(`${what} name ${JSON.stringify(name)} is empty or holds / + # or NUL`);
}
