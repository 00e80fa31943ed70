import { expect, test } from 'bun:test';
import { walkReadme } from '../support/walk-readme.ts';

for (const name of ['logistics', 'ticks']) {
  test(`examples/${name}/README.md: all that it says comes out`, async () => {
    const steps = await walkReadme(name);
    const told = steps.filter(({ language }) => language !== 'sh' && language !== 'graphql');
    expect(told.map(({ language }) => language)).toContain('alerts');
    for (const { language, text, seen = '' } of told) {
      // The load test's figures are of that machine and hour; its verdict is not.
      if (language === 'text') expect(seen).toContain(text.trim().split('\n').at(-1) as string);
      else expect(seen).toBe(text);
    }
    expect(told.at(-1)?.text).toContain('OK: nothing lost, nothing twice, every alert once.');
  }, 180_000);
}
