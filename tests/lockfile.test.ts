import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { LOCK_FILE, type Lock, missingPackages } from '../scripts/lock-platforms.ts';

const text = await Bun.file(LOCK_FILE).text();

test('the lock file holds every platform, without which npm ci refuses on all of them', () => {
  const missing = missingPackages(JSON.parse(text) as Lock);
  expect(missing, 'run bun scripts/lock-platforms.ts').toEqual([]);
});

test('the lock file is in step with package.json', async () => {
  const wanted = await Bun.file(join(import.meta.dirname, '..', 'package.json')).json();
  const locked = (JSON.parse(text) as Lock).packages[''];
  for (const group of ['dependencies', 'devDependencies', 'optionalDependencies'] as const) {
    expect(locked?.[group], 'run npm install, which bun add does not do').toEqual(wanted[group]);
  }
});

test('the lock file names no registry: whoever installs uses their own', () => {
  expect(text).not.toContain('"resolved"');
});

test('what is missing is found beside its parent and above it', () => {
  const optionalDependencies = { a: '1.0.0', b: '1.0.0', c: '1.0.0' };
  const lock: Lock = {
    packages: {
      'node_modules/p': { optionalDependencies },
      'node_modules/a': {},
      'node_modules/p/node_modules/b': {},
    },
  };
  expect(missingPackages(lock)).toEqual([['node_modules/p', 'c', '1.0.0']]);
});
