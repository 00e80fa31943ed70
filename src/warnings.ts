import { type Config, SETTINGS } from './config.ts';

/** What is allowed, and may not be what was meant: a line each, for the start. */
export function warningsOf(
  config: Pick<Config, 'kafkaBrokers' | 'mqttUrl' | 'authJwtSecret'>,
): string[] {
  const warnings: string[] = [];
  if (config.mqttUrl !== null) return warnings;
  if (config.kafkaBrokers !== null) {
    warnings.push(
      `${SETTINGS.kafkaBrokers.name} without ${SETTINGS.mqttUrl.name}: each replica has an MQTT ` +
        'broker of its own, and alerts reach the users of one only; set MQTT_URL, or start one replica',
    );
  }
  if (config.authJwtSecret !== null) {
    warnings.push(
      `${SETTINGS.authJwtSecret.name} guards the API only: the embedded MQTT broker, on loopback, ` +
        'asks for no login; set MQTT_URL to a broker that does',
    );
  }
  return warnings;
}

export const ANOTHER_PUBLISHES =
  'another process on this database is the publisher: the users of the embedded MQTT broker here ' +
  'get no alerts and their configs are not taken; set MQTT_URL to one broker for all';
