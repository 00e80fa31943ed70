import { expect, test } from 'bun:test';
import { join } from 'node:path';

const SETTING = 'BUN_JSC_heapGrowthMaxIncrease';
const MODULE = join(import.meta.dir, '..', 'src', 'heap-growth.ts');
const SCRIPT = `
  const { slowHeapGrowth } = await import('${MODULE}');
  slowHeapGrowth(Number(process.env.MEMORY));
  console.log(JSON.stringify([process.pid, process.env.${SETTING} ?? null, process.env.HELD]));
`;

async function run(env: Record<string, string>) {
  // An argument of Bun's own, which stays too.
  const command = [process.execPath, '--no-env-file', '-e', SCRIPT];
  const { PATH = '' } = process.env;
  const child = Bun.spawn(command, { env: { PATH, HELD: 'yes', ...env }, stderr: 'pipe' });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  expect([await child.exited, err]).toEqual([0, '']);
  return {
    pid: child.pid,
    lines: out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  };
}

// With a Bun that no longer knows the setting the process would end with 1.
test.skipIf(process.platform === 'win32')(
  'on a large machine it begins anew, as itself',
  async () => {
    const { pid, lines } = await run({ MEMORY: String(2 ** 35) });
    expect(lines).toEqual([[pid, '1', 'yes']]);
  },
);

test('on a small one, and with a setting of its own, it goes on', async () => {
  const small = await run({ MEMORY: String(2 ** 33) });
  expect(small.lines).toEqual([[small.pid, null, 'yes']]);
  const own = await run({ MEMORY: String(2 ** 35), [SETTING]: '2' });
  expect(own.lines).toEqual([[own.pid, '2', 'yes']]);
});
