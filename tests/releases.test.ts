import { expect, test } from 'bun:test';
import { createReleases } from '../src/releases.ts';

test('parts stop last first; one that fails or never ends holds up no other, and is named', async () => {
  const lines: string[] = [];
  const note = (_: object, text: string) => void lines.push(text);
  const releases = createReleases({ warn: note, error: note } as never);
  const stopped: string[] = [];
  releases.add('database', () => void stopped.push('database'));
  releases.add('engine', () => new Promise(() => stopped.push('engine')), 20);
  releases.add('broker', async () => {
    stopped.push('broker');
    throw new Error('its disk is gone');
  });
  await releases.releaseAll();
  await releases.releaseAll();
  expect(stopped).toEqual(['broker', 'engine', 'database']);
  expect(lines).toEqual(['broker: did not stop cleanly', 'engine: did not stop in time, left']);
});
