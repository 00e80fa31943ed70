import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runApp, startTestApp } from '../support/app.ts';
import { connectClient, query } from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';

const ROOT = join(import.meta.dirname, '../..');

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pulsegraph-new-model-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs `bun src/new-model` as a user would. */
async function run(args: string[]) {
  const child = Bun.spawn(
    [process.execPath, '--no-env-file', join(ROOT, 'src/new-model'), ...args],
    {
      cwd: folder,
      env: { PATH: process.env.PATH ?? '' },
      stdout: 'pipe',
      stderr: 'pipe',
    },
  );
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { out, err, code };
}

/** The block of a README that begins so, without its indentation. */
function block(readme: string, start: string): string {
  const at = readme.indexOf(`    ${start}`);
  const text = readme.slice(at).split('\n\n')[0] ?? '';
  return text.replaceAll(/^ {4}/gm, '');
}

describe('the written model', () => {
  test('runs as its README says, and a change that takes something away is refused', async () => {
    const dir = join(folder, 'my domain');
    const { out, err, code } = await run(['my-domain', '--dir', dir]);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain(`MODEL='${join(dir, 'model.ts')}' bun run src/index.ts`);
    const readme = readFileSync(join(dir, 'README.md'), 'utf8');
    const [, topic = ''] = /-t (\S+)/.exec(readme) ?? [];
    const [, message = ''] = /-m "(.*)"/.exec(readme) ?? [];
    const seconds = String(Math.floor(Date.now() / 1_000));
    const payload = message.replaceAll('\\"', '"').replace('$(date +%s)', seconds);
    const MODEL = join(dir, 'model.ts');
    const app = await startTestApp({ MODEL });
    try {
      const device = await connectClient(app.mqttUrl);
      await device.publishAsync(topic, payload, { qos: 1 });
      await device.endAsync();
      const answer = await eventually(
        'the reading and its alert',
        async () => {
          const { user } = await query(app.graphqlUrl, block(readme, '{\n'));
          return user?.device?.latest && user.alerts.nodes.length > 0 && user;
        },
        30_000,
      );
      expect(answer).toEqual({
        device: {
          latest: {
            time: new Date(Number(seconds) * 1_000).toISOString(),
            sequenceId: 1,
            ...{ value: 21.5, count: null, status: 'FAILED', extraData: null },
            location: { latitude: 52.5, longitude: 13.4 },
          },
        },
        alerts: {
          nodes: [{ ruleId: 'failed', status: 'FIRING', message: 'device_1 has failed' }],
        },
      });
      expect(await app.stop()).toBe(0);
      const text = readFileSync(MODEL, 'utf8');
      writeFileSync(MODEL, text.replace('    count: {', '    counted: {'));
      const renamed = await runApp(app.dataDir, { MODEL });
      expect(renamed.code).toBe(1);
      expect(renamed.stderr.join('\n')).toContain('columns.count: is gone: declare it');
      writeFileSync(
        MODEL,
        text.replace('min: 0 }', 'min: 0 },\n speed: { type: "double", nullable: true }'),
      );
      await app.restart();
      const speed = '{ user(id: "ann") { device(deviceId: "device_1") { latest { speed } } } }';
      expect((await query(app.graphqlUrl, speed)).user.device.latest).toEqual({ speed: null });
    } finally {
      await app.remove();
    }
  }, 120_000);

  test('is in models/ under its name, and never written over', async () => {
    const first = await run(['market-ticks']);
    expect([first.code, first.err]).toEqual([0, '']);
    expect(first.out).toContain('MODEL=models/market-ticks/model.ts');
    expect(readdirSync(join(folder, 'models/market-ticks')).sort()).toEqual([
      'README.md',
      'model.ts',
    ]);
    const path = join(folder, 'models/market-ticks/model.ts');
    writeFileSync(path, 'mine');
    const again = await run(['market-ticks']);
    expect([again.code, again.out]).toEqual([1, '']);
    expect(again.err).toContain('models/market-ticks/model.ts: is there already');
    expect(readFileSync(path, 'utf8')).toBe('mine');
  }, 30_000);

  test('can not be written where a file stands', async () => {
    writeFileSync(join(folder, 'file'), '');
    const { code, err } = await run(['ticks', '--dir', 'file/ticks']);
    expect(code).toBe(1);
    expect(err).toContain('file/ticks: ');
  }, 30_000);
});

describe('arguments', () => {
  test.each([
    ['no name', [], /missing required argument 'name'/],
    ['capitals', ['MyDomain'], /lower-case letters and digits/],
    ['a path', ['../ticks'], /lower-case letters and digits/],
    ['a hyphen at its end', ['ticks-'], /lower-case letters and digits/],
    ['too long', ['a'.repeat(33)], /up to 32/],
    ['an unknown option', ['ticks', '--force'], /unknown option '--force'/],
    ['two names', ['ticks', 'trades'], /too many arguments/],
  ])(
    '%s',
    async (_, args, said) => {
      const { code, err } = await run(args);
      expect(code).toBe(2);
      expect(err).toMatch(said);
      expect(existsSync(join(folder, 'models/ticks'))).toBe(false);
    },
    30_000,
  );

  test('help shows how', async () => {
    const { code, out } = await run(['--help']);
    expect(code).toBe(0);
    expect(out).toContain('bun src/new-model my-domain --dir');
  }, 30_000);
});
