import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { GENERATED, ROOT } from '../scripts/generate.ts';

for (const [path, text] of Object.entries(GENERATED)) {
  test(`${path} is current`, async () => {
    const file = Bun.file(join(ROOT, path));
    const committed = (await file.exists()) ? await file.text() : '(no such file)';
    expect(committed, `${path} is out of date: run bun run generate`).toBe(await text());
  });
}
