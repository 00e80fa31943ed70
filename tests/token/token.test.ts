import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { createAuthenticate } from '../../src/schema/authenticate.ts';

const ROOT = join(import.meta.dirname, '../..');
const SECRET = 'a secret of more than thirty-two characters';

/** Runs `bun src/token` as a user would, on an environment of its own. */
async function run(args: string[], env: Record<string, string> = { AUTH_JWT_SECRET: SECRET }) {
  const process_ = Bun.spawn([process.execPath, '--no-env-file', 'src/token', ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [out, err, code] = await Promise.all([
    new Response(process_.stdout).text(),
    new Response(process_.stderr).text(),
    process_.exited,
  ]);
  return { out, err, code };
}

test.each([
  [['--user', 'ann'], { kind: 'user', userId: 'ann' }, 3_600],
  [['--role', 'operator', '--expires', '90s'], { kind: 'operator' }, 90],
  [
    ['--user', 'ann', '--device', 'pump', '--expires', '7d'],
    { kind: 'device', userId: 'ann', deviceId: 'pump' },
    604_800,
  ],
] as const)(
  '%p is let in',
  async (args, viewer, seconds) => {
    const { out, err, code } = await run([...args]);
    expect([code, err]).toEqual([0, '']);
    const token = out.trim();
    const authenticate = createAuthenticate({ keys: { secret: SECRET } });
    expect((await authenticate(token)).viewer as object).toEqual(viewer);
    const { iat = 0, exp = 0 } = decodeJwt(token);
    expect(exp - iat).toBe(seconds);
  },
  30_000,
);

test('issuer and audience are those that the server demands', async () => {
  const demanded = { issuer: 'us', audience: 'pulsegraph' };
  const env = { AUTH_JWT_SECRET: SECRET, AUTH_ISSUER: 'us', AUTH_AUDIENCE: 'pulsegraph' };
  const { out } = await run(['--user', 'ann'], env);
  const authenticate = createAuthenticate({ keys: { secret: SECRET }, ...demanded });
  expect((await authenticate(out.trim())).viewer.kind).toBe('user');
  const plain = (await run(['--user', 'ann'])).out.trim();
  await expect(authenticate(plain)).rejects.toThrow('not valid here');
}, 30_000);

test.each([
  ['no user', [], undefined, /--user NAME is missing/],
  ['no topic name', ['--user', 'a/b'], undefined, /level of an MQTT topic/],
  ['an unknown role', ['--user', 'a', '--role', 'king'], undefined, /user, operator, device/],
  ['a device without a name', ['--user', 'a', '--role', 'device'], undefined, /go together/],
  ['no duration', ['--user', 'a', '--expires', 'soon'], undefined, /90s, 30m, 1h or 7d/],
  ['no secret', ['--user', 'a'], {}, /AUTH_JWT_SECRET: not set/],
  ['a short secret', ['--user', 'a'], { AUTH_JWT_SECRET: 'short one' }, /AUTH_JWT_SECRET: \*\*\*/],
  ['keys elsewhere', ['--user', 'a'], { AUTH_JWKS_URL: 'https://id.example/k' }, /private keys/],
] as const)(
  '%s: a line that says what to do, and no token',
  async (_, args, env, says) => {
    const { out, err, code } = await run([...args], env as Record<string, string> | undefined);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toMatch(says);
    expect(err).not.toContain('short one');
    expect(err).not.toContain(SECRET);
  },
  30_000,
);
