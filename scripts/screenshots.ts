/**
 * bun scripts/screenshots.ts: the two pictures of the dashboard in the README, docs/dashboard.png
 * and docs/dashboard-device.png, of a process of its own with a plant that it makes up.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { type Browser, chromium } from 'playwright-core';

const ROOT = join(import.meta.dir, '..');
const USER = 'plant_north';
const HOUR_MS = 3_600_000;
const STEP_MS = 20_000;
const MAX_BYTES = 150_000;

interface Machine {
  name: string;
  base: number;
  swing: number;
  battery: number;
  /** Hours ago: it was too hot around then. */
  peak?: number;
  /** Hours ago, from and to: it sent nothing. */
  silent?: [number, number];
}

const MACHINES: readonly Machine[] = [
  { name: 'boiler_1', base: 64, swing: 5, battery: 88, peak: 0.45, silent: [0.93, 0.79] },
  { name: 'boiler_2', base: 66, swing: 4, battery: 71 },
  { name: 'compressor_1', base: 58, swing: 6, battery: 34 },
  { name: 'compressor_2', base: 57, swing: 7, battery: 12 },
  { name: 'compressor_3', base: 59, swing: 6, battery: 63 },
  { name: 'cooler_1', base: 21, swing: 3, battery: 95 },
  { name: 'cooler_2', base: 22, swing: 3, battery: 90 },
  { name: 'pump_1', base: 43, swing: 5, battery: 47 },
  { name: 'pump_2', base: 44, swing: 4, battery: 52 },
  { name: 'pump_3', base: 45, swing: 5, battery: 17 },
  { name: 'pump_4', base: 41, swing: 5, battery: 58 },
  { name: 'turbine_1', base: 69, swing: 8, battery: 77, peak: 0.02 },
];

const RULES = `mutation {
  setRules(userId: "${USER}", temperatureMax: 80, rules: [
    { key: "battery", operator: LT, threshold: 20, severity: CRITICAL,
      message: "Battery of {device_id} at {value} %" }
    { key: "pressure", operator: GT, threshold: 106, for: "2m", clear: { threshold: 104 },
      message: "Overpressure on {device_id}: {value}" }
  ]) { version }
}`;

function readingOf(machine: Machine, time: number, now: number): object | null {
  const hours = (now - time) / HOUR_MS;
  const { base, swing, battery, peak, silent } = machine;
  if (silent !== undefined && hours < silent[0] && hours > silent[1]) return null;
  const phase = base + time / 1_500_000;
  const heat = peak === undefined ? 0 : 19 * Math.exp(-(((hours - peak) / 0.09) ** 2));
  const noise = Math.sin(time * 0.0137 + base) * 0.4;
  const round = (value: number) => Math.round(value * 100) / 100;
  return {
    time,
    sequence_id: Math.round(time / 1_000),
    temperature: round(base + swing * Math.sin(phase) + heat + noise),
    battery: Math.round(battery + hours * 1.5),
    pressure: round(102 + 3 * Math.sin(phase * 0.7) + heat / 4 + noise),
  };
}

async function fill(graphqlUrl: string, mqttUrl: string): Promise<() => void> {
  await ask(graphqlUrl, RULES);
  const client = await mqtt.connectAsync(mqttUrl, { protocolVersion: 4 });
  const publish = (machine: Machine, time: number) => {
    const reading = readingOf(machine, time, start);
    const topic = `users/${USER}/devices/${machine.name}/telemetry`;
    return reading && client.publishAsync(topic, JSON.stringify(reading), { qos: 1 });
  };
  const start = Date.now();
  await Bun.sleep(1_500); // The rules are in force.
  for (let time = start - 3 * HOUR_MS; time < start; time += STEP_MS) {
    await Promise.all(MACHINES.map((machine) => publish(machine, time)));
  }
  // Something is to flow while the pictures are made.
  const timer = setInterval(() => {
    for (const machine of MACHINES) void publish(machine, Date.now());
  }, 500);
  return () => {
    clearInterval(timer);
    client.end(true);
  };
}

async function ask(url: string, query: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ query });
  const answer = await fetch(url, { method: 'POST', headers, body });
  const { errors } = (await answer.json()) as { errors?: unknown };
  if (errors) throw new Error(JSON.stringify(errors));
}

async function take(browser: Browser, url: string, file: string, height: number): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 1280, height } });
  await page.goto(url);
  await page.locator('table tbody tr').first().waitFor();
  await page.waitForTimeout(12_000); // The sparklines have a shape.
  const path = join(ROOT, 'docs', file);
  const { byteLength } = await page.screenshot({ path });
  console.log(`docs/${file}: ${(byteLength / 1_000).toFixed(0)} KB`);
  if (byteLength > MAX_BYTES) throw new Error(`${file} is above ${MAX_BYTES / 1_000} KB`);
  await page.close();
}

const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-pictures-'));
const { PATH = '', HOME = '' } = process.env;
const server = Bun.spawn([process.execPath, '--no-env-file', 'src/index.ts'], {
  cwd: ROOT,
  env: { PATH, HOME, DATA_DIR: folder, PORT: '0', MQTT_PORT: '0', POSTGRES_PORT: '0' },
  stdout: 'pipe',
  stderr: 'ignore',
});
try {
  let banner = '';
  for await (const chunk of server.stdout.pipeThrough(new TextDecoderStream())) {
    banner += chunk;
    if (/^ {2}Data +\S+/m.test(banner)) break;
  }
  const placeOf = (name: string) => new RegExp(`^ {2}${name} +(\\S+)`, 'm').exec(banner)?.[1] ?? '';
  const stop = await fill(placeOf('GraphiQL'), placeOf('MQTT'));
  const executablePath = process.env.CHROMIUM_PATH || Bun.which('chromium') || '/usr/bin/chromium';
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu'],
  });
  const origin = placeOf('Dashboard');
  await take(browser, origin, 'dashboard.png', 740);
  await take(browser, `${origin}#/devices/${USER}/boiler_1`, 'dashboard-device.png', 740);
  await browser.close();
  stop();
} finally {
  server.kill();
  await server.exited;
  rmSync(folder, { recursive: true, force: true });
}
