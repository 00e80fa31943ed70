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

const origin = () => new URL(app.graphqlUrl).origin;
let sequence = 0;

async function sendAll(count: number, temperature: (at: number) => number): Promise<void> {
  const time = Date.now();
  const sent = Array.from({ length: count }, (_, at) => {
    const payload = JSON.stringify({ time, sequence_id: sequence++, temperature: temperature(at) });
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
      const { page } = await openPage(browser, origin());
      await page.getByText('5,000', { exact: true }).waitFor();
      expect(await page.locator('table.virtual').getAttribute('aria-rowcount')).toBe('5001');
      const seen = await observed(page, async () => {
        await page.evaluate(async () => {
          const list = document.querySelector('.table-scroll') as HTMLElement;
          for (let step = 1; step <= 120; step++) {
            list.scrollTop = (list.scrollHeight * step) / 120;
            await new Promise((resolve) => requestAnimationFrame(resolve));
          }
        });
      });
      expect(seen.mostRows).toBeLessThan(MAX_ROWS);
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
    '1,000 alerts in a burst: counted and listed, and rendered at once',
    async () => {
      const { page } = await openPage(browser, origin(), { hash: '#/alerts' });
      let events = 0;
      page.on('websocket', (socket) =>
        socket.on('framereceived', ({ payload }) => {
          if (payload.includes('"alertEvents"')) events++;
        }),
      );
      await page.reload();
      await page.getByText('No alert has fired yet').waitFor();
      await query(
        app.graphqlUrl,
        `mutation { setRules(userId: "${USER}", temperatureMax: 80) { version } }`,
      );
      // No frame and no timer until it says so: they come within one, on any machine.
      await page.clock.install();
      await page.clock.pauseAt(Date.now() + 60_000);
      const seen = await observed(page, async () => {
        await sendAll(BURST, () => 95);
        await eventually('the page has them', () => events === BURST, 60_000);
        await page.clock.runFor(200);
        await page.locator('.panel-head').getByText('1,000', { exact: true }).waitFor();
      });
      expect(seen.renderings).toBeWithin(1, 4);
      expect(seen.rowsAdded).toBeLessThan(MAX_ROWS);
      await page.clock.resume();
      await visit(page, '#/');
      await page.getByRole('link', { name: /Firing alerts 1,000/ }).waitFor();
      await page.context().close();
    },
    LONG,
  );

  test(
    'alerts that fire while the lists are read are not missed',
    async () => {
      await sendAll(BURST, () => 20);
      const { page } = await openPage(browser, origin(), { hash: '#/alerts' });
      const release = Promise.withResolvers<void>();
      let lists = 0;
      await page.route('**/graphql', async (route) => {
        const isList = route.request().postData()?.includes('query AllAlerts') ?? false;
        if (isList && ++lists === 2) await release.promise;
        await route.continue();
      });
      await page.reload();
      await eventually('the first is read', () => lists === 2);
      await sendAll(BURST, () => 96);
      release.resolve();
      await page.locator('.panel-head').getByText('1,000', { exact: true }).waitFor();
      await page.context().close();
    },
    LONG,
  );
});

interface Seen {
  /** Times that rows came or went. */
  renderings: number;
  rowsAdded: number;
  /** Rows of the table in the page. */
  mostRows: number;
}

/** What becomes of the table while `work` runs; how long it takes is `bun run bench`'s affair. */
async function observed(page: Page, work: () => Promise<void>): Promise<Seen> {
  await page.evaluate(() => {
    const seen: Seen = { renderings: 0, rowsAdded: 0, mostRows: 0 };
    Object.assign(globalThis, { seen });
    const body = document.querySelector('table.virtual tbody') as HTMLTableSectionElement;
    new MutationObserver((changes) => {
      seen.renderings++;
      for (const { addedNodes } of changes) seen.rowsAdded += addedNodes.length;
      seen.mostRows = Math.max(seen.mostRows, body.rows.length);
    }).observe(body, { childList: true });
  });
  await work();
  return await page.evaluate(() => (globalThis as never as { seen: Seen }).seen);
}
