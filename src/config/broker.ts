/** The embedded MQTT broker: where it listens, and whom it lets in. */
import { address, isLoopback, oneOf } from './kinds.ts';
import { setting } from './setting.ts';

export const BROKER_SETTINGS = {
  mqttHost: setting(
    'MQTT_HOST',
    address,
    '127.0.0.1',
    'Address of the embedded MQTT broker. Another than loopback needs `MQTT_AUTH`.',
  ),
  mqttAuth: setting(
    'MQTT_AUTH',
    oneOf('on', 'off'),
    null,
    'Whether the embedded broker asks for the logins of `mqtt_users` and holds clients to `mqtt_acl`, ' +
      'as EMQX does. Unset: `on` where `HOST` or `MQTT_HOST` is another than loopback.',
  ),
} as const;

interface BrokerConfig {
  host: string;
  mqttHost: string;
  mqttUrl: string | null;
  mqttAuth: 'on' | 'off' | null;
}

/** Whether the embedded broker asks for logins. */
export function asksForLogin(config: Omit<BrokerConfig, 'mqttUrl'>): boolean {
  if (config.mqttAuth !== null) return config.mqttAuth === 'on';
  return !isLoopback(config.host) || !isLoopback(config.mqttHost);
}

/** Settings that are right one by one and wrong together. */
export function brokerContradictions(config: BrokerConfig): string[] {
  if (config.mqttUrl !== null || asksForLogin(config) || isLoopback(config.mqttHost)) return [];
  return [
    `MQTT_AUTH: "off" would let whoever reaches ${config.mqttHost} write as any user; set it to on, ` +
      'or MQTT_HOST to 127.0.0.1',
  ];
}
