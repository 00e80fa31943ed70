import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { Browser } from 'playwright-core';
import { traceRenderer } from '../../bench/renderer-trace.ts';
import { openUnwatched } from '../../bench/unwatched-page.ts';
import { eventually } from '../support/process.ts';
import { canRun, launchChromium } from '../web/browser.ts';

const LONG = 90_000;
const HTML = '<title>a page</title><p>here</p>';

let browser: Browser;
let server: Bun.Server<undefined>;

beforeAll(async () => {
  if (!canRun) return;
  const headers = { 'content-type': 'text/html' };
  server = Bun.serve({ port: 0, fetch: () => new Response(HTML, { headers }) });
  browser = await launchChromium();
}, LONG);
afterAll(async () => {
  await browser?.close();
  await server?.stop(true);
}, LONG);

const titles = async () => {
  const session = await browser.newBrowserCDPSession();
  const { targetInfos } = await session.send('Target.getTargets');
  await session.detach();
  return targetInfos.filter(({ type }) => type === 'page').map(({ title }) => title);
};

describe.skipIf(!canRun)('a page that nobody listens to', () => {
  test(
    'runs what it is given, of the size of the tests, unknown to Playwright until it is closed',
    async () => {
      const page = await openUnwatched(browser, server.url.href);
      await page.until(() => document.title !== '', null);
      expect(await page.run((more) => document.title + more, '!')).toBe('a page!');
      expect(await page.run(() => [innerWidth, innerHeight], null)).toEqual([1280, 860]);
      const broken = page.run((what) => {
        throw new Error(what);
      }, 'as it threw');
      await expect(broken).rejects.toThrow('as it threw');
      expect(browser.contexts()).toEqual([]);
      expect(await titles()).toContain('a page');
      await page.close();
      await eventually('it is gone', async () => !(await titles()).includes('a page'), 20_000);
    },
    LONG,
  );

  test(
    'waits for the frame in which something holds; its frames and their CPU are in the trace',
    async () => {
      const page = await openUnwatched(browser, server.url.href);
      await page.settled();
      const work = await traceRenderer(browser, async () => {
        const isDone = page.until(() => document.querySelector('p')?.textContent === 'done', null);
        await page.run(() => {
          let left = 10;
          const count = () => {
            const text = --left > 0 ? `${left}` : 'done';
            (document.querySelector('p') as HTMLElement).textContent = text;
            if (left > 0) requestAnimationFrame(count);
          };
          count();
        }, null);
        await isDone;
      });
      expect(work.frames.length).toBeGreaterThanOrEqual(9);
      expect(work.gaps.length).toBe(work.frames.length - 1);
      expect(Math.max(...work.tasks)).toBeGreaterThan(0);
      await page.close();
    },
    LONG,
  );
});
