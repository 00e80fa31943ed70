import { expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, readText } from './stack.ts';

const dockerfile = await readText('Dockerfile');
const stages = dockerfile.split(/^(?=FROM )/m).filter((part) => part.startsWith('FROM '));

/** What COPY takes from the folder of the build, not from another stage. */
const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, sources]) =>
  (sources as string).split(' '),
);

test('everything that is copied exists and is not ignored', async () => {
  const kept =
    (await readText('.dockerignore')).match(/^!.+$/gm)?.map((line) => line.slice(1)) ?? [];
  expect(copied.length).toBeGreaterThan(3);
  for (const path of copied) {
    expect(existsSync(join(ROOT, path)), path).toBeTrue();
    expect(kept).toContain(path);
  }
  expect(kept.toSorted()).toEqual([...new Set(copied)].toSorted());
});

test('it runs the Bun that the tests run', () => {
  for (const stage of stages) expect(stage).toStartWith(`FROM oven/bun:${Bun.version}-slim`);
});

test('it does not run as root, and has no development dependencies', () => {
  const last = stages.at(-1) as string;
  expect(last.indexOf('\nUSER bun\n')).toBeGreaterThan(last.lastIndexOf('\nRUN '));
  expect(dockerfile).toContain('--production --omit=optional');
});

test('what it starts is there', () => {
  const [, words = '[]'] = /^CMD (.+)$/m.exec(dockerfile) ?? [];
  const [program, entry = ''] = JSON.parse(words) as string[];
  expect(program).toBe('bun');
  expect(existsSync(join(ROOT, entry))).toBeTrue();
});
