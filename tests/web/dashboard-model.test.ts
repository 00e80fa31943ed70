import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { startTestApp, type TestApp } from '../support/app.ts';
import { query } from '../support/app-clients.ts';
import { canRun, launchChromium, openPage, visit } from './browser.ts';

const ROOT = join(import.meta.dirname, '../..');
const PUBLISH = `mutation ($reading: JSON!) {
  publishReading(userId: "ann", deviceId: "van", reading: $reading)
}`;

let folder: string;
let app: TestApp;
let browser: Browser;

/** On a model that has a column of every kind: the one that `bun src/new-model` begins with. */
describe.skipIf(!canRun)('the dashboard of another model', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pulsegraph-dashboard-model-'));
    const program = [process.execPath, '--no-env-file', 'src/new-model', 'vans', '--dir', folder];
    expect(Bun.spawnSync(program, { cwd: ROOT }).exitCode).toBe(0);
    app = await startTestApp({ MODEL: join(folder, 'model.ts') });
    const location = { type: 'Point', coordinates: [13.40523, 52.5] };
    const reading = { time: Date.now(), sequence_id: 1, value: 3, status: 'OK', location };
    await query(app.graphqlUrl, PUBLISH, { reading });
    browser = await launchChromium();
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    await app?.remove();
    rmSync(folder, { recursive: true, force: true });
  }, 30_000);

  test('shows a point as two numbers, in the table and in charts', async () => {
    const { page, faults } = await openPage(browser, new URL(app.graphqlUrl).origin);
    const row = page.getByRole('row', { name: /van/ });
    await row.getByText('52.5', { exact: true }).waitFor();
    await row.getByText('13.41', { exact: true }).waitFor();
    await visit(page, '#/devices/ann/van');
    const readings = page.getByRole('region', { name: 'Latest readings' });
    await readings.getByText('location.longitude').waitFor();
    await readings.getByText('13.41').waitFor();
    await page
      .getByRole('img', { name: /location\.latitude/ })
      .first()
      .waitFor();
    await page.context().close();
    expect(faults).toEqual([]);
  }, 60_000);

  test('offers the values of a text in the form of a rule, and takes a place to try', async () => {
    const origin = new URL(app.graphqlUrl).origin;
    const { page, faults } = await openPage(browser, origin, { hash: '#/devices/ann/van' });
    await page.getByRole('combobox', { name: 'User' }).selectOption('ann');
    await visit(page, '#/rules/new');
    await page.getByLabel('Key').fill('status');
    const offered = page.locator('datalist#list-Threshold option');
    await offered.first().waitFor({ state: 'attached' });
    const values = await offered.evaluateAll((all) => all.map((one) => one.getAttribute('value')));
    expect(values).toEqual(['OK', 'FAILED']);
    await visit(page, '#/try');
    await page.getByLabel('location').fill('{ "latitude": 48.1, "longitude": 11.5 }');
    await page.getByRole('button', { name: 'Publish' }).click();
    await page.getByText('Stored in the database, and judged').waitFor();
    await page.getByText(/See it in the chart/).waitFor();
    const asked =
      '{ user(id: "ann") { device(deviceId: "try_it") { latest { location { latitude longitude } status } } } }';
    expect((await query(app.graphqlUrl, asked)).user.device.latest).toEqual({
      location: { latitude: 48.1, longitude: 11.5 },
      status: 'OK',
    });
    await page.context().close();
    expect(faults).toEqual([]);
  }, 60_000);
});
