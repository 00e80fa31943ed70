import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exitOf, runApp, spawnApp, startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, listen, query } from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';

const ROOT = join(import.meta.dir, '..', '..');
let app: TestApp;
beforeAll(async () => {
  app = await startTestApp();
}, 60_000);
afterAll(() => app.remove(), 30_000);

test('the banner says where everything is, and each place is there', async () => {
  const banner = app.stdout();
  expect(banner).toContain('Pulsegraph is ready');
  expect(banner).toContain(app.dataDir);
  expect(banner).toContain('postgres-password');
  expect(banner).not.toContain(readFileSync(join(app.dataDir, 'postgres-password'), 'utf8').trim());
  const page = await fetch(app.graphqlUrl, { headers: { accept: 'text/html' } });
  expect(await page.text()).toContain('<title>');
  expect(await query(app.graphqlUrl, '{ ingest { lag } }')).toEqual({ ingest: { lag: 0 } });
});

test.skipIf(!Bun.which('npx') || process.platform !== 'linux')(
  'the printed commands work as printed: an alert is heard, the load test is content',
  async () => {
    const commands = [...app.stdout().matchAll(/^ {2}(npx .+)$/gm)].map(([, line]) => line ?? '');
    const [listening, config, reading, loadTest] = commands;
    expect(commands).toHaveLength(4);
    const before = connectionsTo(app.mqttUrl);
    const listener = shell(`exec ${listening}`);
    try {
      await eventually('the listener connects', () => connectionsTo(app.mqttUrl) > before);
      expect(await shell(`${config}`).exited).toBe(0);
      expect(await shell(`${reading}`).exited).toBe(0);
      const { value } = await listener.stdout.getReader().read();
      expect(JSON.parse(new TextDecoder().decode(value))).toMatchObject({
        type: 'FIRED',
        device_id: 'pump_1',
        rule_id: 'temperature-max',
        value: 85.5,
      });
    } finally {
      // The whole group: npx passes no signal on.
      process.kill(-listener.pid, 'SIGKILL');
      await listener.exited;
    }
    const run = shell(`${loadTest?.replace('--duration 30', '--duration 2')}`);
    const [report, code] = await Promise.all([new Response(run.stdout).text(), run.exited]);
    expect(report).toContain('lost');
    expect(code).toBe(0);
  },
  60_000,
);

test('a config sent at the very moment of the banner is taken', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-config-'));
  const MQTT_PORT = String(freePort());
  const settings = { DATA_DIR: join(folder, 'data'), PORT: '0', POSTGRES_PORT: '0', MQTT_PORT };
  const child = spawnApp(settings);
  // Connected before the banner, so that nothing but the message itself comes after it.
  const client = await connectClient(`mqtt://127.0.0.1:${MQTT_PORT}`, { reconnectPeriod: 5 });
  try {
    const heard = await listen(client, 'users/early/config');
    await eventually('the banner', () => child.text.stdout.includes('is ready'));
    await client.publishAsync('users/early/config', '{"temperature_max": 80}', { qos: 1 });
    await eventually('it is in force', () => heard.some(({ json }) => json.version === 1));
  } finally {
    await client.endAsync(true);
    child.process.kill('SIGTERM');
    await exitOf(child);
    rmSync(folder, { recursive: true, force: true });
  }
}, 30_000);

test("the banner for a broker of one's own: no password, and no command that can not work", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-outside-'));
  const child = spawnApp({
    DATA_DIR: join(folder, 'data'),
    PORT: '0',
    POSTGRES_PORT: '0',
    MQTT_URL: 'mqtt://ann:hush@127.0.0.1:1',
  });
  try {
    await eventually('the banner', () => child.text.stdout.includes('is ready'), 20_000);
    expect(child.text.stdout).toContain('mqtt://ann:***@127.0.0.1:1  (publish to users/');
    expect(child.text.stdout).not.toMatch(/hush|mqtt pub|loadtest/);
  } finally {
    child.process.kill('SIGTERM');
    expect(await exitOf(child)).toBe(0);
    rmSync(folder, { recursive: true, force: true });
  }
  expect(child.text.stderr).not.toContain('hush');
}, 60_000);

test('tokens with the embedded broker: one line says that MQTT asks for none', async () => {
  const guarded = await startTestApp({ AUTH_JWT_SECRET: 'x'.repeat(64) });
  try {
    expect(guarded.stderr().match(/guards the API only/g)).toHaveLength(1);
  } finally {
    await guarded.remove();
  }
}, 60_000);

describe('what can not start gets one line each on stderr, exit code 1, and leaves nothing', () => {
  let parent: string;
  let dataDir: string;
  beforeAll(() => {
    parent = mkdtempSync(join(tmpdir(), 'pulsegraph-refused-'));
    dataDir = join(parent, 'data');
  });
  afterAll(() => rmSync(parent, { recursive: true, force: true }));
  const holders: { stop(force: boolean): void }[] = [];
  afterEach(() => {
    for (const holder of holders.splice(0)) holder.stop(true);
  });

  // The first of them makes the database: later parts fail with everything before them running.
  test.each([
    ['POSTGRES_PORT', 'set POSTGRES_PORT to a free port'],
    ['MQTT_PORT', 'set MQTT_PORT to another port'],
    ['PORT', 'set PORT to another one'],
  ])(
    'a taken %s',
    async (name, remedy) => {
      const holder = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
      holders.push(holder);
      const ended = await runApp(dataDir, { [name]: String(holder.port) });
      expect(ended).toEqual({ code: 1, stdout: '', stderr: [expect.any(String)], processes: [] });
      expect(ended.stderr[0]).toStartWith(`${name} ${holder.port} is taken: `);
      expect(ended.stderr[0]).toContain(remedy);
    },
    30_000,
  );

  test('a damaged file of the broker, with the database running already', async () => {
    writeFileSync(join(dataDir, 'mqtt.sqlite'), 'no such thing'.repeat(1_000));
    const ended = await runApp(dataDir);
    expect(ended).toEqual({ code: 1, stdout: '', stderr: [expect.any(String)], processes: [] });
    expect(ended.stderr[0]).toContain('move it away');
  }, 30_000);

  test('a data folder in use', async () => {
    const before = app.postgresPid();
    const { code, stdout, stderr } = await runApp(app.dataDir);
    expect({ code, stdout, stderr }).toEqual({
      code: 1,
      stdout: '',
      stderr: [
        `DATA_DIR ${app.dataDir} is in use by another Pulsegraph process (pid ${app.pid}): ` +
          'stop it, or set DATA_DIR to another folder',
      ],
    });
    expect(app.postgresPid()).toBe(before);
  }, 30_000);

  test('settings that are unknown or malformed, all together', async () => {
    const settings = {
      MQTT_PROT: '1883',
      PORT: '99999',
      MAX_PAYLOAD_BYTES: 'huge',
      HOST: '0.0.0.0',
    };
    const ended = await runApp(join(parent, 'untouched'), settings);
    expect(ended).toMatchObject({ code: 1, stdout: '', processes: [] });
    expect(ended.stderr.map((line) => line.split(/:| is not /)[0]).sort()).toEqual(
      Object.keys(settings).sort(),
    );
    for (const line of ended.stderr) expect(line).not.toMatch(/^\s+at |^\{/);
  }, 30_000);
});

function freePort(): number {
  const holder = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  holder.stop(true);
  return holder.port;
}

function shell(command: string) {
  return Bun.spawn(['sh', '-c', command], {
    cwd: ROOT,
    stdout: 'pipe',
    stderr: 'ignore',
    detached: true,
  });
}

/** Established ones, from either side. Linux only. */
function connectionsTo(url: string): number {
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, '0');
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n');
  return lines.filter((line) => line.includes(`:${port} `) && / 01 /.test(line)).length;
}
