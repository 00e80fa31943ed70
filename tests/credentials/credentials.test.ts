import { afterAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAllowed } from '../../src/domain/mqtt-account.ts';
import { isPassword } from '../../src/domain/password-hash.ts';
import { readMqttAccounts } from '../../src/store/mqtt-accounts.ts';
import { testDatabase } from '../support/postgres.ts';

const SLOW = 60_000;
const ROOT = join(import.meta.dirname, '../..');
const database = await testDatabase();
const { sql, url } = database;
const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-credentials-'));
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await database.drop();
});

async function run(args: string, { stdin = '', env = { DATABASE_URL: url } as object } = {}) {
  const started = Bun.spawn(
    [process.execPath, '--no-env-file', 'src/credentials', ...args.split(' ').filter(Boolean)],
    {
      cwd: ROOT,
      env: { PATH: process.env.PATH ?? '', DATA_DIR: folder, ...env },
      stdin: Buffer.from(stdin),
      stdout: 'pipe',
      stderr: 'pipe',
    },
  );
  const [out, err, code] = await Promise.all([
    new Response(started.stdout).text(),
    new Response(started.stderr).text(),
    started.exited,
  ]);
  return { out, err, code };
}

const read = async (username: string) => (await readMqttAccounts(sql, [username])).get(username);

async function fits(username: string, password: string): Promise<boolean> {
  const account = await read(username);
  return account !== undefined && (await isPassword(Buffer.from(password), account));
}

describe('accounts', () => {
  test(
    'of a user: added once, with a password that is shown and not kept',
    async () => {
      const { out, err, code } = await run('add --user user_1');
      expect([code, err]).toEqual([0, 'user_1: added\nIts password, which is shown this once:\n']);
      expect(out).toMatch(/^[\w-]{32}\n$/);
      expect(await fits('user_1', out.trim())).toBeTrue();
      expect(JSON.stringify(await sql`SELECT * FROM mqtt_users`)).not.toContain(out.trim());
      const again = await run('add --user user_1');
      expect([again.code, again.out]).toEqual([1, '']);
      expect(again.err).toContain('there is such an account');
    },
    SLOW,
  );

  test(
    'of a device: it writes its own telemetry, and nothing else',
    async () => {
      expect((await run('add --user user_1 --device pump_1')).code).toBe(0);
      const account = await read('user_1:pump_1');
      expect(account?.rights).toEqual([
        { permission: 'allow', action: 'publish', topic: 'users/user_1/devices/pump_1/telemetry' },
      ]);
      expect((await run('add --user user_1 --device pump_1 --name p1')).code).toBe(0);
      expect((await read('p1'))?.rights).toEqual(account?.rights as never);
    },
    SLOW,
  );

  test(
    'a superuser, by PBKDF2 and from stdin',
    async () => {
      const { out, code } = await run('add --superuser bench --pbkdf2 --password-stdin', {
        stdin: 'from stdin\n',
      });
      expect([code, out]).toEqual([0, '']);
      expect(await fits('bench', 'from stdin')).toBeTrue();
      const account = await read('bench');
      expect(account?.salt).not.toBe('');
      const everything = { clientId: 'c', action: 'subscribe', topic: '#' } as const;
      expect(account && isAllowed(account, everything)).toBeTrue();
    },
    SLOW,
  );

  test(
    'rotate, disable, enable and list',
    async () => {
      await run('add --user turned --password-stdin', { stdin: 'the old one' });
      const { out } = await run('rotate turned');
      expect(await fits('turned', 'the old one')).toBeFalse();
      expect(await fits('turned', out.trim())).toBeTrue();
      expect((await run('disable turned')).code).toBe(0);
      expect(await read('turned')).toBeUndefined();
      const list = await run('list');
      expect(list.out).toMatch(/^turned +user +0 +\d{4}-\d\d-\d\d +disabled \d{4}-/m);
      expect(list.out).not.toContain('$2');
      expect((await run('enable turned')).code).toBe(0);
      expect(await fits('turned', out.trim())).toBeTrue();
    },
    SLOW,
  );
});

test.each([
  ['rotate nobody', 1, /no such account/],
  ['disable nobody', 1, /no such account/],
  ['add', 2, /one of --user ID and --superuser NAME/],
  ['add --user a/b', 2, /level of an MQTT topic/],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: as a right would have it
  ['add --user ${username}', 2, /dollar sign/],
  ['add --user a --superuser b', 2, /one of/],
  ['add --user a --name b', 2, /--name goes with --device/],
  ['add --user a --password hunter22', 2, /unknown option/],
  ['', 2, /Usage/],
])(
  '%p is refused',
  async (args, code, err) => {
    const result = await run(args);
    expect(result.code).toBe(code);
    expect(result.err).toMatch(err);
  },
  SLOW,
);

test.each([
  ['tiny', /shorter than 8/],
  ['x'.repeat(73), /longer than 72/],
])(
  'a password of stdin that is not fit: %p',
  async (stdin, err) => {
    const result = await run('add --user unfit --password-stdin', { stdin });
    expect(result.code).toBe(2);
    expect(result.err).toMatch(err);
    expect(result.err).not.toContain(stdin);
  },
  SLOW,
);

test(
  'without a database it says what to do',
  async () => {
    const none = await run('list', { env: {} });
    expect([none.code, none.err]).toEqual([2, expect.stringContaining('start Pulsegraph')]);
    const gone = 'postgres://me:hush-hush@127.0.0.1:1/x';
    const away = await run('list', { env: { DATABASE_URL: gone } });
    expect(away.code).toBe(2);
    expect(away.err).not.toContain('hush-hush');
  },
  SLOW,
);

test(
  "with one owner of all readings, telemetry is that account's right in its own name",
  async () => {
    const env = { DATABASE_URL: url, MODEL: 'examples/ticks/model.ts' };
    expect((await run('add --user market', { env })).code).toBe(0);
    expect((await run('add --user market --device ACME', { env })).code).toBe(0);
    const rights = await sql<{ username: string; topic: string }[]>`
      SELECT username, topic FROM mqtt_acl WHERE username LIKE 'market%' ORDER BY username`;
    expect(rights.map(({ username, topic }) => [username, topic])).toEqual([
      ['market', 'ticks/+'],
      ['market:ACME', 'ticks/ACME'],
    ]);
    const { err, code } = await run('add --user eve --device ACME', { env });
    expect([code, err]).toEqual([
      2,
      '--user: all readings of this model are of market; write that\n',
    ]);
    const gone = await run('list', { env: { ...env, MODEL: 'examples/gone.ts' } });
    expect(gone.code).toBe(2);
    expect(gone.err).toContain('MODEL: examples/gone.ts is not there');
  },
  SLOW,
);
