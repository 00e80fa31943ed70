/** What a broker's codes mean for whoever runs the bridge, and what to do about it. */

const WRONG_LOGIN = 'refused the login: check MQTT_USERNAME and MQTT_PASSWORD';
const NOT_ALLOWED =
  'does not authorize this client: check MQTT_USERNAME, MQTT_PASSWORD and its ACL';

const CONNACK_4: Record<number, string> = {
  1: 'does not speak MQTT 3.1.1: set MQTT_VERSION=5',
  2: 'refused the client id',
  3: 'is not available now',
  4: WRONG_LOGIN,
  5: NOT_ALLOWED,
};

const REASONS_5: Record<number, string> = {
  129: 'found a malformed packet',
  130: 'found a protocol error',
  132: 'does not speak MQTT 5: set MQTT_VERSION=4',
  133: 'refused the client id',
  134: WRONG_LOGIN,
  135: NOT_ALLOWED,
  136: 'is not available now',
  137: 'is busy',
  138: 'has banned this client',
  139: 'is shutting down',
  141: 'heard nothing from the bridge for too long',
  142: 'gave the session to another client of the same id: two bridges use one id',
  147: 'says that the bridge took more messages than it announced',
  151: 'says that a quota is used up',
  156: 'wants another server to be used: change MQTT_URL',
  157: 'has moved: change MQTT_URL',
};

export function connackProblem(version: 4 | 5, code: number, reason?: string): string {
  const known = version === 5 ? REASONS_5[code] : CONNACK_4[code];
  return withReason(known ?? `refused the connection with code ${code}`, reason);
}

export function disconnectProblem(code: number, reason?: string): string {
  return withReason(REASONS_5[code] ?? `ended the connection with code ${code}`, reason);
}

function withReason(text: string, reason: string | undefined): string {
  return reason === undefined ? text : `${text} (${JSON.stringify(reason)})`;
}
