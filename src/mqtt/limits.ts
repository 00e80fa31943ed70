/** What one client, or all together, may take up of the embedded broker. */
export interface BrokerLimits {
  /** Messages a second of one connection, where there are logins. */
  maxRate: number;
  maxTopicBytes: number;
  maxTopicLevels: number;
  /** Of one client. */
  maxSubscriptions: number;
  /** Kept sessions, of all clients. */
  maxSessions: number;
  /** Retained messages with their topics, together. */
  maxRetainedBytes: number;
}

export const DEFAULT_LIMITS: BrokerLimits = {
  maxRate: 1_000,
  maxTopicBytes: 1_024,
  maxTopicLevels: 16,
  maxSubscriptions: 1_000,
  maxSessions: 100_000,
  maxRetainedBytes: 256 * 2 ** 20,
};

/** Why a topic or a filter is refused; null for one that is fine. */
export function topicFault(topic: string, limits: BrokerLimits): string | null {
  // A character is three bytes at the most, here.
  if (topic.length * 3 > limits.maxTopicBytes && Buffer.byteLength(topic) > limits.maxTopicBytes) {
    return `its topic is longer than ${limits.maxTopicBytes} bytes (MQTT_MAX_TOPIC_BYTES)`;
  }
  let levels = 1;
  for (let i = topic.indexOf('/'); i !== -1; i = topic.indexOf('/', i + 1)) levels++;
  if (levels <= limits.maxTopicLevels) return null;
  return `its topic has more than ${limits.maxTopicLevels} levels (MQTT_MAX_TOPIC_LEVELS)`;
}
