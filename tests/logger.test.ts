import { expect, test } from 'bun:test';
import { join } from 'node:path';

const LOGGER = join(import.meta.dir, '..', 'src', 'logger.ts');

/** What a process with this level has written: each line of stderr. */
async function linesAt(level: string): Promise<Record<string, unknown>[]> {
  const script = `
    import { createProcessLog } from ${JSON.stringify(LOGGER)};
    const log = createProcessLog(${JSON.stringify(level)});
    for (const name of ['debug', 'info']) log.logger[name]({ held: true }, name);
    log.release();
    for (const name of ['debug', 'info', 'warn', 'error']) {
      log.logger.child({ partition: 3 })[name]({ err: new Error('why') }, name);
    }
    await log.flush();`;
  const child = Bun.spawn([process.execPath, '-e', script], { stderr: 'pipe' });
  const text = await new Response(child.stderr).text();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

test('the log is JSON lines from the level on, with what was held back at the start', async () => {
  const all = await linesAt('debug');
  expect(all.map(({ msg }) => msg)).toEqual(['debug', 'info', 'debug', 'info', 'warn', 'error']);
  expect(all[0]).toMatchObject({ level: 20, held: true });
  expect(all[5]).toMatchObject({ level: 50, partition: 3, err: { message: 'why' } });
  expect(typeof all[5]?.time).toBe('number');
  const few = await linesAt('warn');
  expect(few.map(({ msg }) => msg)).toEqual(['warn', 'error']);
  expect(await linesAt('silent')).toEqual([]);
}, 30_000);
