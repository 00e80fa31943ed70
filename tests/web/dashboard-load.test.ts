import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { MqttClient } from 'mqtt';
import type { Browser, Page } from 'playwright-core';
import { startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, query, telemetryTopic } from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';
import { canRun, launchChromium, openPage, picture, visit } from './browser.ts';

const USER = 'fleet';
const DEVICES = 5_000;
const BURST = 1_000;
/** Rows in the page at most, whatever the list is: those on the screen and some around. */
const MAX_ROWS = 60;
const LONG = 90_000;

let app: TestApp;
let browser: Browser;
let client: MqttClient;

beforeAll(async () => {
  if (!canRun) return;
  app = await startTestApp();
  [browser, client] = await Promise.all([launchChromium(), connectClient(app.mqttUrl)]);
}, LONG);
afterAll(async () => {
  await client?.endAsync(true);
  await browser?.close();
  await app?.remove();
}, LONG);

const nameOf = (at: number) => `unit_${String(at).padStart(4, '0')}`;

async function sendAll(count: number, temperature: (at: number) => number): Promise<void> {
  const time = Date.now();
  const sent = Array.from({ length: count }, (_, at) => {
    const payload = JSON.stringify({ time, sequence_id: 1, temperature: temperature(at) });
    return client.publishAsync(telemetryTopic(USER, nameOf(at)), payload, { qos: 1 });
  });
  await Promise.all(sent);
  await eventually(
    'all is stored',
    async () => (await query(app.graphqlUrl, '{ ingest { lag } }')).ingest.lag === 0,
    60_000,
  );
}

describe.skipIf(!canRun)('the dashboard with much to show', () => {
  test(
    '5,000 devices: found, sorted and scrolled with few rows in the page',
    async () => {
      await sendAll(DEVICES, (at) => (at * 7) % 79);
      const { page } = await openPage(browser, new URL(app.graphqlUrl).origin);
      await page.getByText('5,000', { exact: true }).waitFor();
      expect(await page.locator('table.virtual').getAttribute('aria-rowcount')).toBe('5001');
      const frames = await measured(page, 'scrolling through 5,000 devices', async () => {
        await page.evaluate(async () => {
          const list = document.querySelector('.table-scroll') as HTMLElement;
          for (let step = 1; step <= 120; step++) {
            list.scrollTop = (list.scrollHeight * step) / 120;
            await new Promise((resolve) => requestAnimationFrame(resolve));
          }
        });
      });
      expect(frames.mostRows).toBeLessThan(MAX_ROWS);
      await page.getByRole('link', { name: nameOf(DEVICES - 1) }).waitFor();
      await page.getByRole('button', { name: 'temperature' }).click();
      await page.getByRole('searchbox', { name: 'Search devices' }).fill('unit_42');
      await page.getByText('100', { exact: true }).waitFor();
      await picture(page, 'fleet');
      await page.context().close();
    },
    LONG,
  );

  test(
    '1,000 alerts in a burst: all are listed, by few renderings',
    async () => {
      const { page } = await openPage(browser, new URL(app.graphqlUrl).origin, {
        hash: '#/alerts',
      });
      await page.getByText('No alert has fired yet').waitFor();
      await query(
        app.graphqlUrl,
        `mutation { setRules(userId: "${USER}", temperatureMax: 80) { version } }`,
      );
      const frames = await measured(page, '1,000 alerts in a burst', async () => {
        await sendAll(BURST, () => 95);
        await page.locator('.panel-head').getByText('1,000', { exact: true }).waitFor();
      });
      // Each rendering takes whatever came since the last: far fewer than alerts.
      expect(frames.renderings).toBeLessThan(BURST / 2);
      expect(frames.mostRows).toBeLessThan(MAX_ROWS);
      await visit(page, '#/');
      await page.getByRole('link', { name: /Firing alerts 1,000/ }).waitFor();
      await page.context().close();
    },
    LONG,
  );
});

interface Frames {
  renderings: number;
  /** Rows of the table in the page. */
  mostRows: number;
}

/** Frames while `work` runs: printed, since how long one takes is the machine's affair as well. */
async function measured(page: Page, title: string, work: () => Promise<void>): Promise<Frames> {
  await page.evaluate(() => {
    const seen = { gaps: [] as number[], tasks: [] as number[], renderings: 0, mostRows: 0 };
    Object.assign(globalThis, { seen });
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) seen.tasks.push(duration);
    }).observe({ type: 'longtask' });
    let last = performance.now();
    const frame = (now: number) => {
      seen.gaps.push(now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    const body = document.querySelector('table.virtual tbody') as HTMLTableSectionElement;
    new MutationObserver(() => {
      seen.renderings++;
      seen.mostRows = Math.max(seen.mostRows, body.rows.length);
    }).observe(body, { childList: true });
  });
  await work();
  const seen = await page.evaluate(
    () => (globalThis as never as { seen: Frames & { gaps: number[]; tasks: number[] } }).seen,
  );
  const gaps = seen.gaps.slice(1).sort((a, b) => a - b);
  const p99 = gaps[Math.floor(gaps.length * 0.99)] ?? 0;
  const slow = gaps.filter((gap) => gap > 50).length;
  console.log(
    `${title}: ${gaps.length} frames, p99 ${p99.toFixed(0)} ms, longest ${(gaps.at(-1) ?? 0).toFixed(0)} ms, ` +
      `${slow} above 50 ms; ${seen.tasks.length} long tasks; ${seen.renderings} renderings`,
  );
  return seen;
}
