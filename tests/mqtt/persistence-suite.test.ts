import { afterAll, test } from 'bun:test';
import assert from 'node:assert';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createPersistence } from '../../src/mqtt/persistence.ts';

/** What the suite uses of node:test's context. */
interface SuiteContext {
  assert: Record<string, unknown>;
  plan(assertions: number): void;
  diagnostic(text: string): void;
}
type SuiteTest = (name: string, body: (t: SuiteContext) => Promise<void>) => void;
type Suite = (options: { test: SuiteTest; persistence: () => unknown; testAsync: true }) => void;

// The suite that aedes' authors run on every persistence. It is written for node:test, whose
// context is made here on top of bun test; a plan that doesn't add up fails, as it does there.
const suite = createRequire(import.meta.url)('aedes-persistence/abstract.js') as Suite;
const folder = mkdtempSync(join(tmpdir(), 'pulsegraph-mqtt-'));
let files = 0;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const suiteTest: SuiteTest = (name, body) => {
  test(name, async () => {
    let planned: number | undefined;
    let made = 0;
    const counting = new Proxy(assert as unknown as Record<string, unknown>, {
      get(target, property: string) {
        made++;
        return target[property];
      },
    });
    await body({
      assert: counting,
      plan: (assertions) => {
        planned = assertions;
      },
      diagnostic: () => {},
    });
    if (planned !== undefined) assert.equal(made, planned, 'assertions made, as planned');
  }, 30_000);
};

suite({
  test: suiteTest,
  persistence: () => createPersistence({ file: join(folder, `${files++}.sqlite`) }),
  testAsync: true,
});
