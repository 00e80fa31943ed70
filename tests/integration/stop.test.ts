import { expect, test } from 'bun:test';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitOf, processesIn, spawnApp, startTestApp } from '../support/app.ts';
import { connectClient, query, telemetryTopic } from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';

const SEQUENCES = `query ($device: ID!) {
  user(id: "u") { device(deviceId: $device) { readings(first: 1000) { nodes { sequenceId } } } }
}`;

test('SIGTERM and SIGINT store what is acknowledged and exit with 0; the data is there again', async () => {
  const app = await startTestApp();
  try {
    for (const [device, signal] of [
      ['d1', 'SIGTERM'],
      ['d2', 'SIGINT'],
    ] as const) {
      const client = await connectClient(app.mqttUrl, { reconnectPeriod: 0 });
      const acknowledged = Array.from({ length: 500 }, (_, sequence_id) =>
        client.publishAsync(
          telemetryTopic('u', device),
          JSON.stringify({ time: Date.now(), sequence_id, temperature: 20 }),
          { qos: 1 },
        ),
      );
      await Promise.all(acknowledged);
      app.signal(signal);
      // The same press, as a terminal and npm deliver it: two at once would arrive as one.
      await eventually('it has noticed', () => app.stderr().includes(signal));
      app.signal(signal);
      expect(await app.exited()).toBe(0);
      expect(processesIn(app.dataDir)).toEqual([]);
      client.end(true);
      await app.restart();
      const { user } = await query(app.graphqlUrl, SEQUENCES, { device });
      const stored = user.device.readings.nodes.map(
        (node: { sequenceId: number }) => node.sequenceId,
      );
      expect(stored.sort((a: number, b: number) => a - b)).toEqual([...acknowledged.keys()]);
    }
  } finally {
    await app.remove();
  }
}, 60_000);

test('a later signal ends a stop that takes long, and still nothing is left running', async () => {
  const app = await startTestApp();
  const postgres = app.postgresPid();
  try {
    // It stops when it may go on: for ten seconds that is waited for.
    process.kill(postgres, 'SIGSTOP');
    const signalledAt = performance.now();
    const exited = app.exited();
    let code: number | null | undefined;
    void exited.then((value) => {
      code = value;
    });
    while (code === undefined && performance.now() - signalledAt < 8_000) {
      app.signal('SIGINT');
      await sleep(25);
    }
    expect(code).toBe(1);
    expect(performance.now() - signalledAt).toBeGreaterThan(500);
    expect(app.stderr()).toContain('Stopped at once.');
  } finally {
    process.kill(postgres, 'SIGCONT');
    await app.remove();
  }
}, 60_000);

test('a signal while it starts: no banner, exit code 0, nothing left, and the next start works', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-early-'));
  const settings = {
    DATA_DIR: join(folder, 'data'),
    PORT: '0',
    MQTT_PORT: '0',
    POSTGRES_PORT: '0',
  };
  try {
    for (const moment of ['pulsegraph.pid', 'postgres/postmaster.pid', 'log.sqlite']) {
      const child = spawnApp(settings);
      const file = join(settings.DATA_DIR, moment);
      if (moment !== 'pulsegraph.pid') rmSync(file, { force: true });
      // Without a pause: the very first moment counts too.
      for (const untilMs = performance.now() + 10_000; !existsSync(file); ) {
        if (performance.now() > untilMs) throw new Error(`not within 10 s: ${moment}`);
      }
      child.process.kill('SIGTERM');
      expect(await exitOf(child)).toBe(0);
      expect(child.text.stdout).toBe('');
      expect(child.text.stderr.trim().split('\n')).toHaveLength(1);
      expect(processesIn(folder)).toEqual([]);
    }
    const child = spawnApp(settings);
    await eventually('it is ready', () => child.text.stdout.includes('is ready'), 30_000);
    child.process.kill('SIGTERM');
    expect(await exitOf(child)).toBe(0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 60_000);

test('a signal while it waits for Kafka, which accepts and does not answer', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-kafka-'));
  let asked = 0;
  const silent = Bun.listen({
    hostname: '127.0.0.1',
    port: 0,
    socket: {
      data() {
        asked++;
      },
    },
  });
  const child = spawnApp({
    DATA_DIR: join(folder, 'data'),
    PORT: '0',
    MQTT_PORT: '0',
    POSTGRES_PORT: '0',
    KAFKA_BROKERS: `127.0.0.1:${silent.port}`,
  });
  try {
    await eventually('it asks', () => asked > 0, 20_000);
    const startedMs = performance.now();
    child.process.kill('SIGTERM');
    expect(await exitOf(child)).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(8_000);
    expect(processesIn(folder)).toEqual([]);
  } finally {
    silent.stop(true);
    child.process.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}, 60_000);
