import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { noCluster } from '../support/cluster.ts';

/** One fault of each of several kinds; a slow machine takes a few times as long. */
const WINDOW_MINUTES = 0.2;
const TIMEOUT_MS = 420_000;

/** The command itself: its verdict is the exit code. */
async function chaos(stack: string, faults: number): Promise<{ code: number; text: string }> {
  const options = { stack, faults, seed: 9, minutes: WINDOW_MINUTES, rate: 60, users: 4 };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = Bun.spawn(
    [process.execPath, 'tests/chaos/run', ...args, '--mosquitto-kills', '0'],
    { cwd: join(import.meta.dir, '..', '..'), stdout: 'pipe', stderr: 'pipe' },
  );
  const texts = [new Response(child.stdout).text(), new Response(child.stderr).text()];
  const code = await child.exited;
  return { code, text: (await Promise.all(texts)).join('\n') };
}

async function expectSurvival(stack: string, faults: number): Promise<void> {
  const { code, text } = await chaos(stack, faults);
  // In the comparison, so that a failure shows what the command has said.
  expect({ code, text: code === 0 ? '' : text }).toEqual({ code: 0, text: '' });
  expect(text).toContain('seed 9');
  expect(text).toContain(`| faults injected | ${faults} |`);
  expect(text).toContain('| **processes left over** | 0 |');
}

test.skipIf(process.platform !== 'linux')(
  'a short seeded round on the embedded stack loses and doubles nothing',
  () => expectSurvival('embedded', 8),
  TIMEOUT_MS,
);

test.skipIf(process.platform !== 'linux' || noCluster)(
  'a short seeded round on Kafka, Mosquitto and PgBouncer loses and doubles nothing',
  () => expectSurvival('kafka', 8),
  TIMEOUT_MS,
);
