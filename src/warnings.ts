import { hasTokens } from './config/api.ts';
import { asksForLogin } from './config/broker.ts';
import { isLoopback } from './config/kinds.ts';
import { type Config, SETTINGS } from './config.ts';

/** What is allowed, and may not be what was meant: a line each, for the start. */
export function warningsOf(
  config: Pick<Config, 'kafkaBrokers' | 'mqttUrl' | 'authJwtSecret' | 'authJwksUrl'> &
    Parameters<typeof asksForLogin>[0],
): string[] {
  const warnings: string[] = [];
  const keysAt = config.authJwksUrl === null ? null : new URL(config.authJwksUrl);
  if (keysAt?.protocol === 'http:' && !isLoopback(keysAt.hostname)) {
    warnings.push(
      `${SETTINGS.authJwksUrl.name} is read without TLS: whoever is on the way can replace the keys ` +
        'and make tokens; use https:// outside of a network of your own',
    );
  }
  if (config.mqttUrl !== null) return warnings;
  if (config.kafkaBrokers !== null) {
    warnings.push(
      `${SETTINGS.kafkaBrokers.name} without ${SETTINGS.mqttUrl.name}: each replica has an MQTT ` +
        'broker of its own, and alerts reach the users of one only; set MQTT_URL, or start one replica',
    );
  }
  if (hasTokens(config) && !asksForLogin(config)) {
    const { authJwtSecret, authJwksUrl } = SETTINGS;
    warnings.push(
      `${(config.authJwtSecret === null ? authJwksUrl : authJwtSecret).name} guards the API only: the embedded MQTT broker, on loopback, ` +
        'asks for no login; set MQTT_AUTH=on',
    );
  }
  return warnings;
}

export const ANOTHER_PUBLISHES =
  'another process on this database is the publisher: the users of the embedded MQTT broker here ' +
  'get no alerts and their configs are not taken; set MQTT_URL to one broker for all';
