import { afterEach, describe, expect, test } from 'bun:test';
import { pbkdf2Sync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Glob } from 'bun';
import { noMosquitto } from '../support/mosquitto.ts';
import { BridgeCleanup, type TestBridge } from './bridge-harness.ts';
import { memoryLog, topicOf, until } from './helpers.ts';

const TEST_MS = 30_000;
const cleanup = new BridgeCleanup();
afterEach(() => cleanup.end(), TEST_MS);

/** A line of a Mosquitto password file. */
function passwordLine(user: string, password: string): string {
  const salt = Buffer.from('twelve bytes');
  const hash = pbkdf2Sync(password, salt, 101, 64, 'sha512');
  return `${user}:$7$101$${salt.toString('base64')}$${hash.toString('base64')}\n`;
}

const WITH_LOGIN = {
  settings: ['password_file %folder%/passwords'],
  files: { passwords: passwordLine('bridge', 'p@ss:word') },
};

async function firstWarning(bridge: TestBridge): Promise<string> {
  const warning = () => bridge.lines.find(({ level }) => level === 'warn')?.message;
  await until('a line', () => warning() !== undefined);
  return warning() ?? '';
}

for (const protocolVersion of [4, 5] as const) {
  describe.skipIf(noMosquitto)(`the login, MQTT ${protocolVersion}`, () => {
    const start = () => cleanup.mosquitto(WITH_LOGIN);
    const open = (url: string, login: object, wait = true) =>
      cleanup.bridge({ url, protocolVersion, appender: memoryLog().appender, ...login }, { wait });

    test(
      'is in the URL or beside it',
      async () => {
        const { url } = await start();
        const inUrl = url.replace('//', `//bridge:${encodeURIComponent('p@ss:word')}@`);
        const first = await open(inUrl, {});
        await first.close();
        await open(url, { username: 'bridge', password: 'p@ss:word' });
      },
      TEST_MS,
    );

    test(
      'that is refused is told with what to do, and no password',
      async () => {
        const { url } = await start();
        for (const login of [{}, { username: 'bridge', password: 'wrong-one' }]) {
          const bridge = await open(url, login, false);
          const line = await firstWarning(bridge);
          expect(line).toContain(`no telemetry from ${url}: the broker `);
          expect(line).toContain('check MQTT_USERNAME');
          expect(JSON.stringify(bridge.lines)).not.toContain('wrong-one');
          await bridge.close();
        }
      },
      TEST_MS,
    );

    test(
      'without the right to subscribe is told',
      async () => {
        // An access list of Mosquitto lets everybody subscribe; this plugin of its doesn't.
        const [plugin] = new Glob('*/mosquitto_dynamic_security.so').scanSync('/usr/lib');
        const { url } = await cleanup.mosquitto({
          settings: [`plugin /usr/lib/${plugin}`, 'plugin_opt_config_file %folder%/rights.json'],
          files: { 'rights.json': JSON.stringify({ defaultACLAccess: { subscribe: false } }) },
        });
        const bridge = await open(url, {}, false);
        expect(await firstWarning(bridge)).toContain(
          'refused the subscription to users/+/devices/',
        );
        expect(bridge.connected).toBe(false);
      },
      TEST_MS,
    );
  });
}

describe.skipIf(noMosquitto)('TLS', () => {
  function certificate(): { ca: string; cert: string; key: string } {
    const folder = cleanup.folder();
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const subject = [
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost,IP:127.0.0.1',
    ];
    const made = ['-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', cert];
    const done = Bun.spawnSync(['openssl', 'req', '-x509', ...made, ...subject]);
    if (!done.success) throw new Error(`openssl: ${done.stderr}`);
    const pem = readFileSync(cert, 'utf8');
    return { ca: pem, cert: pem, key: readFileSync(key, 'utf8') };
  }

  test(
    'with the CA that signed it messages come; without it the line says so',
    async () => {
      const { ca, cert, key } = certificate();
      const mosquitto = await cleanup.mosquitto({
        settings: ['certfile %folder%/cert.pem', 'keyfile %folder%/key.pem'],
        files: { 'cert.pem': cert, 'key.pem': key },
      });
      const url = mosquitto.url.replace('mqtt:', 'mqtts:');
      const log = memoryLog();
      await cleanup.bridge({ url, tls: { ca }, appender: log.appender });
      const client = await cleanup.client(url, { ca });
      await client.publishAsync(topicOf('d'), 'over TLS', { qos: 1 });
      await until('the message', () => log.texts()[0] === 'over TLS');

      const options = { url, clientId: 'other', appender: log.appender };
      const stranger = await cleanup.bridge(options, { wait: false });
      expect(await firstWarning(stranger)).toMatch(/self.signed certificate/);
      // A broker that speaks TLS, spoken to without.
      const plain = { ...options, url: mosquitto.url };
      const deaf = await cleanup.bridge(plain, { wait: false });
      expect(await firstWarning(deaf)).toContain(mosquitto.url);
    },
    TEST_MS,
  );
});
