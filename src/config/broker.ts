/** The embedded MQTT broker: where it listens, and whom it lets in. */
import { authorityFaults, certificateFaults } from './certificate.ts';
import { address, isLoopback, oneOf, pemFile, port } from './kinds.ts';
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
      'as EMQX does. Unset: `on` where `HOST`, `MQTT_HOST` or an open `MQTTS_HOST` is another than loopback.',
  ),
  mqttsPort: setting(
    'MQTTS_PORT',
    port,
    null,
    'The embedded broker over TLS, on a port of its own (8883 by custom). Unset: there is none.',
  ),
  mqttsHost: setting('MQTTS_HOST', address, '0.0.0.0', 'Address of that port.'),
  mqttsCert: setting(
    'MQTTS_CERT',
    pemFile,
    null,
    'Its certificate, with those between it and the root.',
  ),
  mqttsKey: setting('MQTTS_KEY', pemFile, null, 'The key of that certificate.'),
  mqttsClientCa: setting(
    'MQTTS_CLIENT_CA',
    pemFile,
    null,
    'Clients of that port have to show a certificate that is signed by one of these.',
  ),
  mqttsCertUsername: setting(
    'MQTTS_CERT_USERNAME',
    oneOf('on', 'off'),
    'off',
    '`on` takes the common name of that certificate as the account, in place of a login.',
  ),
} as const;

interface BrokerConfig {
  host: string;
  mqttHost: string;
  mqttUrl: string | null;
  mqttAuth: 'on' | 'off' | null;
  mqttsPort: number | null;
  mqttsHost: string;
  mqttsCert: string | null;
  mqttsKey: string | null;
  mqttsClientCa: string | null;
  mqttsCertUsername: 'on' | 'off';
}

type Doors = Pick<BrokerConfig, 'host' | 'mqttHost' | 'mqttAuth' | 'mqttsPort' | 'mqttsHost'>;

/** The address, besides loopback, from which the embedded broker can be reached. */
function openHost({ mqttHost, mqttsPort, mqttsHost }: Omit<Doors, 'host'>): string | undefined {
  const hosts = mqttsPort === null ? [mqttHost] : [mqttHost, mqttsHost];
  return hosts.find((host) => !isLoopback(host));
}

/** Whether the embedded broker asks for logins. */
export function asksForLogin(config: Doors): boolean {
  if (config.mqttAuth !== null) return config.mqttAuth === 'on';
  return !isLoopback(config.host) || openHost(config) !== undefined;
}

/** Settings that are right one by one and wrong together. */
export function brokerContradictions(config: BrokerConfig): string[] {
  const faults: string[] = [];
  const { mqttsCert: cert, mqttsKey: key, mqttsPort, mqttsClientCa, mqttsCertUsername } = config;
  const host = openHost(config);
  if (config.mqttUrl === null && !asksForLogin(config) && host !== undefined) {
    faults.push(
      `MQTT_AUTH: "off" would let whoever reaches ${host} write as any user; set it to on, or ` +
        'MQTT_HOST and MQTTS_HOST to 127.0.0.1',
    );
  }
  if (mqttsPort !== null && (cert === null || key === null)) {
    faults.push('MQTTS_PORT: TLS has nothing to show; set MQTTS_CERT and MQTTS_KEY too');
  }
  if (mqttsCertUsername === 'on' && (mqttsClientCa === null || !asksForLogin(config))) {
    faults.push('MQTTS_CERT_USERNAME: "on" goes with MQTTS_CLIENT_CA, and MQTT_AUTH on');
  }
  return [
    ...faults,
    ...certificateFaults('MQTTS', { cert, key }),
    ...authorityFaults('MQTTS_CLIENT_CA', mqttsClientCa),
  ];
}
