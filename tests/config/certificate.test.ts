import { afterAll, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type ConfigError, loadConfig } from '../../src/config.ts';
import { createAuthority } from '../support/certificates.ts';

const authority = createAuthority();
const good = authority.issue('server');
const other = authority.issue('other');
const past = authority.issue('past', ['-days', '-1']);
afterAll(() => authority.remove());

function faultsOf(env: Record<string, string>): string {
  try {
    loadConfig(env);
    return '';
  } catch (error) {
    return (error as ConfigError).faults.join('\n');
  }
}

test.each(['MQTTS', 'HTTPS'])('%s: a certificate and its key are taken, others are not', (door) => {
  const faults = (cert?: string, key?: string) =>
    faultsOf({
      ...(cert && { [`${door}_CERT`]: cert }),
      ...(key && { [`${door}_KEY`]: key }),
    });
  expect(faults(good.certFile, good.keyFile)).toBe('');
  expect(faults(good.certFile)).toMatch(/_CERT, .*_KEY: set both, or neither/);
  expect(faults(good.certFile, other.keyFile)).toMatch(/_KEY: is not the key of .*_CERT/);
  expect(faults(past.certFile, past.keyFile)).toMatch(/_CERT: expired on /);
  expect(faults(good.keyFile, good.keyFile)).toMatch(/_CERT: holds no certificate/);
  expect(faults(good.certFile, good.certFile)).toMatch(/_KEY: holds no key/);
  expect(faults('/nowhere.pem', good.keyFile)).toMatch(/_CERT: .*not a file of PEM text/);
});

test.each(['MQTTS', 'HTTPS'])('%s: certificates of clients are checked against some', (door) => {
  const tls = { [`${door}_CERT`]: good.certFile, [`${door}_KEY`]: good.keyFile };
  const name = `${door}_CLIENT_CA`;
  expect(faultsOf({ ...tls, [name]: authority.caFile })).toBe('');
  expect(faultsOf({ ...tls, [name]: good.keyFile })).toContain(`${name}: holds no certificate`);
  const folder = dirname(good.certFile);
  const [both, broken] = [join(folder, 'both.pem'), join(folder, 'broken.pem')];
  writeFileSync(both, `${authority.ca}\n${good.cert}`);
  expect(faultsOf({ ...tls, [name]: both })).toBe('');
  writeFileSync(broken, `${authority.ca}\n${good.cert.replace('MII', '!!!')}`);
  expect(faultsOf({ ...tls, [name]: broken })).toContain(`${name}: holds no certificate`);
});

test('certificates of clients of the API go with TLS', () => {
  expect(faultsOf({ HTTPS_CLIENT_CA: authority.caFile })).toContain('set HTTPS_CERT and HTTPS_KEY');
});

test('where the broker is open it asks for logins, or does not start', () => {
  const tls = { MQTTS_CERT: good.certFile, MQTTS_KEY: good.keyFile };
  expect(faultsOf({ MQTTS_PORT: '8883' })).toContain('set MQTTS_CERT and MQTTS_KEY too');
  expect(faultsOf({ MQTTS_PORT: '8883', ...tls })).toBe('');
  expect(faultsOf({ MQTTS_PORT: '8883', ...tls, MQTT_AUTH: 'off' })).toContain('MQTT_AUTH: "off"');
  expect(faultsOf({ MQTTS_PORT: '1883', ...tls })).toContain('is also MQTT_PORT');
  expect(faultsOf({ MQTT_HOST: '0.0.0.0' })).toBe('');
  expect(faultsOf({ MQTT_HOST: '0.0.0.0', MQTT_AUTH: 'off' })).toContain('MQTT_AUTH: "off"');
  expect(faultsOf({ MQTT_HOST: '0.0.0.0', MQTT_AUTH: 'off', MQTT_URL: 'mqtt://a' })).toBe('');
  expect(faultsOf({ MQTTS_CERT_USERNAME: 'on' })).toContain('goes with MQTTS_CLIENT_CA');
});
