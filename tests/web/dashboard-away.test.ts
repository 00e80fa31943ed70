import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { Browser } from 'playwright-core';
import { startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, query, telemetryTopic } from '../support/app-clients.ts';
import { canRun, launchChromium, openPage, picture, violations } from './browser.ts';

const LONG = 90_000;
const SECRET = 'a secret of more than thirty-two characters';

let browser: Browser;
beforeAll(async () => {
  if (canRun) browser = await launchChromium();
}, LONG);
afterAll(async () => {
  await browser?.close();
}, LONG);

async function send(app: TestApp, devices: readonly string[], temperature: number): Promise<void> {
  const client = await connectClient(app.mqttUrl);
  for (const device of devices) {
    const payload = JSON.stringify({ time: Date.now(), sequence_id: Date.now(), temperature });
    await client.publishAsync(telemetryTopic('ada', device), payload, { qos: 1 });
  }
  await client.endAsync(true);
}

const names = (prefix: string) => Array.from({ length: 12 }, (_, at) => `${prefix}_${at}`);

describe.skipIf(!canRun)('the dashboard', () => {
  test(
    'killed and started again, it says so and misses no alert',
    async () => {
      const app = await startTestApp();
      try {
        await query(
          app.graphqlUrl,
          'mutation { setRules(userId: "ada", temperatureMax: 80) { version } }',
        );
        const { page } = await openPage(browser, new URL(app.graphqlUrl).origin, {
          hash: '#/alerts',
        });
        await send(app, names('before'), 90);
        await page.locator('.panel-head').getByText('12', { exact: true }).waitFor();
        let reads = 0;
        page.on('request', (request) => {
          if (/query (All|User)Alerts/.test(request.postData() ?? '')) reads++;
        });
        await app.kill();
        await page.getByText('Disconnected since').waitFor();
        await page.getByRole('status').getByText('Disconnected').waitFor();
        await picture(page, 'disconnected');
        expect(await violations(page)).toEqual([]);
        // The alerts fire before the page is back: others take the port meanwhile, or it is early.
        await page.context().setOffline(true);
        await app.restart();
        await send(app, names('meanwhile'), 91);
        await eventsOf(app, 24);
        await page.context().setOffline(false);
        await page.getByRole('status').getByText('Live').waitFor();
        await page.locator('.panel-head').getByText('24', { exact: true }).waitFor();
        await page.getByText('Disconnected since').waitFor({ state: 'detached' });
        await send(app, names('after'), 92);
        await page.locator('.panel-head').getByText('36', { exact: true }).waitFor();
        // By resuming where it was, not by reading the lists anew.
        expect(reads).toBe(0);
      } finally {
        await app.remove();
      }
    },
    LONG,
  );

  test(
    'with tokens it asks for one; a user sees their own and no switch',
    async () => {
      const app = await startTestApp({ AUTH_JWT_SECRET: SECRET });
      try {
        const { page, faults } = await openPage(browser, new URL(app.graphqlUrl).origin);
        await page.getByRole('heading', { name: 'Sign in to Pulsegraph' }).waitFor();
        await picture(page, 'sign-in');
        expect(await violations(page)).toEqual([]);
        await page.getByLabel('Token').fill('no token at all');
        await page.getByRole('button', { name: 'Sign in' }).click();
        await page.getByText('The last one was refused').waitFor();
        await page.getByLabel('Token').fill(await tokenOf('--user', 'ada'));
        await page.getByRole('button', { name: 'Sign in' }).click();
        await page.getByRole('status').getByText('Live').waitFor();
        await page.getByText('No device has sent anything yet').waitFor();
        expect(await page.getByRole('combobox', { name: 'User' }).count()).toBe(0);
        expect(await page.getByRole('link', { name: 'Dead letters' }).count()).toBe(0);
        await page.getByRole('link', { name: 'Try it', exact: true }).click();
        await page.getByRole('button', { name: 'Publish' }).click();
        await page.locator('.stage.done', { hasText: 'Stored in the database' }).waitFor();
        await page.getByRole('button', { name: 'Sign out' }).click();
        await page.getByLabel('Token').fill(await tokenOf('--role', 'operator'));
        await page.getByRole('button', { name: 'Sign in' }).click();
        await page.getByRole('link', { name: 'Overview' }).click();
        await page.getByRole('link', { name: 'try_it' }).waitFor();
        await page.getByRole('combobox', { name: 'User' }).waitFor();
        // A refused token is a 401, which the browser names too.
        expect(faults.filter((fault) => !fault.includes('401'))).toEqual([]);
      } finally {
        await app.remove();
      }
    },
    LONG,
  );
});

async function eventsOf(app: TestApp, count: number): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    const { alerts } = await query(app.graphqlUrl, '{ alerts(first: 100) { nodes { id } } }');
    if (alerts.nodes.length === count) return;
    await Bun.sleep(50);
  }
  throw new Error(`there are no ${count} alerts`);
}

async function tokenOf(...args: string[]): Promise<string> {
  const env = { PATH: process.env.PATH ?? '', AUTH_JWT_SECRET: SECRET };
  const child = Bun.spawn([process.execPath, '--no-env-file', 'src/token', ...args], { env });
  return (await new Response(child.stdout).text()).trim();
}
