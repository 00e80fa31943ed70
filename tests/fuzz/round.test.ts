import { expect, test } from 'bun:test';
import { join } from 'node:path';

/** Some 15 s on a machine that has nothing else to do. */
const TIMEOUT_MS = 300_000;

test(
  'a short seeded round at every door finds nothing',
  async () => {
    const child = Bun.spawn(
      [process.execPath, 'tests/fuzz/run', '--seed', '9', '--inputs', '12000'],
      { cwd: join(import.meta.dir, '..', '..'), stdout: 'pipe', stderr: 'pipe' },
    );
    const texts = [new Response(child.stdout).text(), new Response(child.stderr).text()];
    const code = await child.exited;
    const [text, progress] = await Promise.all(texts);
    // In the comparison, so that a failure shows what the command has said.
    expect({ code, text: code === 0 ? '' : `${text}\n${progress}` }).toEqual({ code: 0, text: '' });
    expect(text).toContain('seed 9');
    for (const door of ['log', 'config', 'mqtt', 'http', 'graphql', 'ws']) {
      expect(text).toContain(`| ${door} | `);
    }
  },
  TIMEOUT_MS,
);
