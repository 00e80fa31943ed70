/** MQTT topics with the names of a user and a device in them. Pure: no client, no broker. */

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
  /** @throws Error when a name can't stand in a topic */
  format(names: TopicNames): string;
  /**
   * True for a topic that was probably meant as this one, whether it matches or not: it ends in the
   * pattern's last literal levels (`/telemetry`), or begins with its first ones where it ends in a
   * name. Such a message becomes a dead letter, not silence.
   */
  resembles(topic: string): boolean;
}

const PLACEHOLDER = /^\{(.*)\}$/;
const UNFIT = ['/', '+', '#', '\0'];

/** Whether a user or device name can be one level of a topic: not empty, no `/`, `+`, `#` or NUL. */
export function isTopicName(name: string): boolean {
  return name.length > 0 && !UNFIT.some((character) => name.includes(character));
}

/**
 * Compiles a model's topic: literal levels, `{user_id}` and `{device_id}`.
 *
 * @throws Error when the pattern lacks or repeats a placeholder, or holds another or a wildcard
 */
export function compileTopic(pattern: string): TopicPattern {
  const levels = pattern.split('/');
  const names = levels.map((level) => PLACEHOLDER.exec(level)?.[1] ?? null);
  for (const name of ['user_id', 'device_id']) {
    if (names.filter((other) => other === name).length !== 1) {
      throw new Error(`topic "${pattern}": write {${name}} as a level of it, once`);
    }
  }
  for (const [index, level] of levels.entries()) {
    const name = names[index];
    if (name !== null && name !== 'user_id' && name !== 'device_id') {
      throw new Error(`topic "${pattern}": {${name}} is neither {user_id} nor {device_id}`);
    }
    if (name === null && !isTopicName(level)) {
      throw new Error(`topic "${pattern}": "${level}" can't be a level of it`);
    }
  }
  const userLevel = names.indexOf('user_id');
  const deviceLevel = names.indexOf('device_id');
  const lastName = Math.max(userLevel, deviceLevel);
  const firstName = Math.min(userLevel, deviceLevel);
  const suffix = lastName < levels.length - 1 ? `/${levels.slice(lastName + 1).join('/')}` : null;
  const prefix = firstName > 0 ? `${levels.slice(0, firstName).join('/')}/` : null;

  function match(topic: string): TopicNames | null {
    const parts = topic.split('/');
    if (parts.length !== levels.length) return null;
    for (let i = 0; i < levels.length; i++) {
      if (names[i] === null && parts[i] !== levels[i]) return null;
    }
    const userId = parts[userLevel] as string;
    const deviceId = parts[deviceLevel] as string;
    return isTopicName(userId) && isTopicName(deviceId) ? { userId, deviceId } : null;
  }

  function format({ userId, deviceId }: TopicNames): string {
    const parts = [...levels];
    parts[userLevel] = checkedName(userId, 'user');
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
