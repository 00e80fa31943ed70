import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StartError } from '../../src/domain/start-error.ts';
import { openDataFolder } from '../../src/embedded/data-folder.ts';

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'pulsegraph-folder-'));
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

test('is made with its parents, for its owner alone', () => {
  const folder = openDataFolder(join(parent, 'a', 'b'));
  expect(folder.path).toBe(join(parent, 'a', 'b'));
  expect(statSync(folder.path).mode & 0o777).toBe(0o700);
  folder.close();
});

test('has one holder at a time, in this process too', () => {
  const path = join(parent, 'data');
  const first = openDataFolder(path);
  expect(startErrorOf(() => openDataFolder(path)).code).toBe('DATA_DIR_IN_USE');
  first.close();
  openDataFolder(path).close();
});

test('another process that has it is named; kill -9 of it frees the folder', async () => {
  const path = join(parent, 'data');
  const holder = Bun.spawn(['bun', join(import.meta.dir, 'holder.ts'), path], { stdout: 'pipe' });
  try {
    const { value } = await holder.stdout.getReader().read();
    expect(new TextDecoder().decode(value)).toBe('ready\n');
    expect(startErrorOf(() => openDataFolder(path)).message).toBe(
      `DATA_DIR ${path} is in use by another Pulsegraph process (pid ${holder.pid}): ` +
        'stop it, or set DATA_DIR to another folder',
    );
  } finally {
    holder.kill('SIGKILL');
    await holder.exited;
  }
  openDataFolder(path).close();
}, 20_000);

test('what is no folder gets one line that names it', () => {
  const file = join(parent, 'file');
  writeFileSync(file, '');
  const hint = 'set DATA_DIR to a folder that this user can write';
  expect(startErrorOf(() => openDataFolder(file)).message).toBe(
    `DATA_DIR ${file} is a file, not a folder: ${hint}`,
  );
  expect(startErrorOf(() => openDataFolder(join(file, 'x'))).message).toBe(
    `DATA_DIR ${file}/x lies below a file, not a folder: ${hint}`,
  );
});

test('a lock file that is none is not taken for a free folder', () => {
  writeFileSync(join(parent, 'lock.sqlite'), 'somebody else wrote this, at some length'.repeat(30));
  expect(startErrorOf(() => openDataFolder(parent)).code).toBe('DATA_DIR_UNUSABLE');
});

function startErrorOf(act: () => unknown): StartError {
  try {
    act();
  } catch (error) {
    if (error instanceof StartError) {
      expect(error.message).not.toContain('\n');
      return error;
    }
    throw error;
  }
  throw new Error('nothing was thrown');
}
