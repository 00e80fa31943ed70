/** How much of the embedded MQTT broker its clients may take up. */
import { integer, size } from './kinds.ts';
import { setting } from './setting.ts';

export const BROKER_LIMIT_SETTINGS = {
  mqttMaxConnections: setting(
    'MQTT_MAX_CONNECTIONS',
    integer(1, 1_000_000),
    '10000',
    'Connections to the embedded broker at once.',
  ),
  mqttMaxRate: setting(
    'MQTT_MAX_RATE',
    integer(1, 1_000_000),
    '1000',
    'Messages a second of one connection, with `MQTT_AUTH`. Beyond it the connection is read more ' +
      'slowly; who pushes on for a minute is disconnected.',
  ),
  mqttMaxTopicBytes: setting(
    'MQTT_MAX_TOPIC_BYTES',
    integer(32, 65_535),
    '1024',
    'Bytes of a topic or filter. Who publishes to a longer one is disconnected.',
  ),
  mqttMaxTopicLevels: setting(
    'MQTT_MAX_TOPIC_LEVELS',
    integer(4, 100),
    '16',
    'Levels of a topic or filter, likewise.',
  ),
  mqttMaxSubscriptions: setting(
    'MQTT_MAX_SUBSCRIPTIONS',
    integer(1, 1_000_000),
    '1000',
    'Subscriptions of one client; a further one is refused.',
  ),
  mqttMaxSessions: setting(
    'MQTT_MAX_SESSIONS',
    integer(1, 10_000_000),
    '100000',
    'Sessions that are kept for clients that are away; a further one is refused.',
  ),
  mqttMaxRetainedBytes: setting(
    'MQTT_MAX_RETAINED_BYTES',
    size(2 ** 20, 2 ** 40),
    '256MiB',
    'Retained messages, all together; a further one is delivered and not kept.',
  ),
} as const;
