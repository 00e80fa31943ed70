import { expect, test } from 'bun:test';
import { LOCK_FILE, type Lock, missingPackages } from '../scripts/lock-platforms.ts';

const text = await Bun.file(LOCK_FILE).text();

test('the lock file holds every platform, without which npm ci refuses on all of them', () => {
  const missing = missingPackages(JSON.parse(text) as Lock);
  expect(missing, 'run bun scripts/lock-platforms.ts').toEqual([]);
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
