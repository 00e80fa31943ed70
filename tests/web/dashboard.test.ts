import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { MqttClient } from 'mqtt';
import type { Browser, Page } from 'playwright-core';
import { startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, query, telemetryTopic } from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';
import {
  canRun,
  launchChromium,
  openPage,
  picture,
  violations,
  visit,
  type Watched,
} from './browser.ts';

const USER = 'plant';
const LONG = 60_000;
/** As long as a name may be. */
const LONG_NAME = 'x'.repeat(128);
const SPACING_MS = 20_000;

let app: TestApp;
let browser: Browser;
let client: MqttClient;
let watched: Watched;
let page: Page;
let origin: string;
let sequence = 1;

beforeAll(async () => {
  if (!canRun) return;
  app = await startTestApp();
  origin = new URL(app.graphqlUrl).origin;
  [browser, client] = await Promise.all([launchChromium(), connectClient(app.mqttUrl)]);
  watched = await openPage(browser, origin);
  page = watched.page;
}, LONG);
afterAll(async () => {
  await client?.endAsync(true);
  await browser?.close();
  await app?.remove();
}, LONG);

function send(deviceId: string, fields: object, time = Date.now()) {
  const payload = JSON.stringify({ time, sequence_id: sequence++, ...fields });
  return client.publishAsync(telemetryTopic(USER, deviceId), payload, { qos: 1 });
}

const stored = () =>
  eventually('all is stored', async () => {
    const { ingest } = await query(app.graphqlUrl, '{ ingest { lag } }');
    return ingest.lag === 0;
  });

describe.skipIf(!canRun)('the dashboard', () => {
  test('empty, it teaches the one command', async () => {
    await page.getByText('No device has sent anything yet').waitFor();
    await page.getByText(/npm run loadtest -- /).waitFor();
    await visit(page, '#/alerts');
    await page.getByText('No alert has fired yet').waitFor();
    await visit(page, '#/dead-letters');
    await page.getByText('No dead letters').waitFor();
    await visit(page, '#/');
  }, 30_000);

  test(
    'overview: devices with their values, found and sorted; figures live',
    async () => {
      await query(
        app.graphqlUrl,
        `mutation { setRules(userId: "${USER}", temperatureMax: 80) { version } }`,
      );
      await Promise.all(
        [61, 62, 63, 64].map((temperature, at) =>
          send(`pump_${at}`, { temperature, battery: 50 + at }),
        ),
      );
      await stored();
      await page.reload();
      await page.getByRole('link', { name: 'pump_3' }).waitFor();
      await page.getByRole('button', { name: 'temperature' }).click();
      await page.getByRole('button', { name: 'temperature' }).click();
      const first = page.locator('table.virtual tbody tr').first();
      expect(await first.textContent()).toContain('pump_3');
      await page.getByRole('searchbox', { name: 'Search devices' }).fill('PUMP_1');
      await eventually(
        'one is left',
        async () => (await page.locator('table.virtual a').count()) === 1,
      );
      await page.getByRole('searchbox', { name: 'Search devices' }).fill('');
      // Read again by itself while it is on the screen.
      await send('pump_0', { temperature: 44.25 });
      await page.getByRole('cell', { name: '44.25' }).waitFor();
      await page.getByText('records/s').waitFor();
      await page.locator('.sparkline polyline').first().waitFor({ state: 'attached' });
    },
    LONG,
  );

  test(
    'a device: charts with gaps, thresholds and alerts; zoomed, live, in another timezone',
    async () => {
      const now = Date.now();
      const times = Array.from({ length: 150 }, (_, at) => now - (150 - at) * SPACING_MS);
      const isGap = (at: number) => at > 60 && at < 90;
      for (const [at, time] of times.entries()) {
        if (!isGap(at))
          await send('boiler', { temperature: at > 100 && at < 120 ? 90 : 60, rpm: at }, time);
      }
      await stored();
      await visit(page, `#/devices/${USER}/boiler`);
      const chart = page.getByRole('img', { name: /^temperature of boiler/ });
      await chart.waitFor();
      await eventually('it says its values', async () =>
        /From 60 to 90, 60 at/.test((await chart.getAttribute('aria-label')) ?? ''),
      );
      await page.getByRole('img', { name: /^rpm of boiler/ }).waitFor();
      await page.getByText('temperature 60 is not > 80').waitFor();
      expect(await breaks(page)).toBe(1);
      await picture(page, 'device');

      const asked = telemetryRequest(page);
      await page.getByRole('button', { name: 'Zoom in' }).click();
      const { from, to } = await asked;
      expect(Date.parse(to) - Date.parse(from)).toBeCloseTo(1_800_000, -4);
      const zoomed = telemetryRequest(page);
      const box = await chart.locator('.u-over').boundingBox();
      if (box === null) throw new Error('no plot');
      await page.mouse.move(box.x + box.width * 0.25, box.y + 30);
      await page.mouse.down();
      await page.mouse.move(box.x + box.width * 0.75, box.y + 30, { steps: 4 });
      await page.mouse.up();
      const part = await zoomed;
      expect(Date.parse(part.to) - Date.parse(part.from)).toBeCloseTo(900_000, -5);
      const panned = telemetryRequest(page);
      await chart.focus();
      await page.keyboard.press('ArrowLeft');
      expect(Date.parse((await panned).from)).toBeLessThan(Date.parse(part.from));
      const years = telemetryRequest(page);
      await page.getByRole('button', { name: '5 y' }).click();
      expect(Date.parse((await years).to) - Date.parse((await years).from)).toBe(157_680_000_000);

      await page.getByRole('button', { name: '15 min' }).click();
      await chart.waitFor();
      await send('boiler', { temperature: 71.5, rpm: 7 });
      await eventually('the live reading is in the chart', async () =>
        /71\.5 at/.test((await chart.getAttribute('aria-label')) ?? ''),
      );
      const zoned = telemetryRequest(page);
      await page.getByRole('combobox', { name: 'Timezone' }).selectOption('Asia/Tokyo');
      expect((await zoned).timezone).toBe('Asia/Tokyo');
      const hour = new Date(now + 9 * 3_600_000).toISOString().slice(0, 10);
      await page.getByRole('cell', { name: hour }).first().waitFor();
      await page.getByRole('combobox', { name: 'Timezone' }).selectOption('UTC');
    },
    LONG,
  );

  test(
    'an alert as it fires: evidence, acknowledged, snoozed, resolved',
    async () => {
      await visit(page, '#/alerts');
      await send('pump_1', { temperature: 95.5 });
      await page.getByRole('link', { name: 'Temperature 95.5 is above 80' }).click();
      const detail = page.getByRole('article', { name: 'Alert' });
      await detail.getByText('Evidence').waitFor();
      await detail.getByText(/partition \d+, offset \d+/).waitFor();
      await detail.getByRole('img', { name: /temperature around the alert/ }).waitFor();
      await picture(page, 'alert');
      await detail.getByRole('button', { name: 'Acknowledge' }).click();
      await detail.getByText('operator sees to it').waitFor();
      await page.getByRole('combobox', { name: 'State' }).selectOption('open');
      await page.getByText('No alert like this').waitFor();
      await page.getByRole('combobox', { name: 'State' }).selectOption('firing');
      await page.getByRole('combobox', { name: 'Snooze for' }).selectOption('P1D');
      await detail.getByRole('button', { name: 'Snooze', exact: true }).click();
      await detail.getByText('snoozed until').waitFor();
      await detail.getByRole('button', { name: 'End the snooze' }).click();
      await detail.getByRole('button', { name: 'Snooze', exact: true }).waitFor();
      await send('pump_1', { temperature: 20 });
      await page.getByText('No alert like this').waitFor();
      await detail
        .getByText(/resolved/)
        .first()
        .waitFor();
    },
    LONG,
  );

  test(
    'a rule: faults in the words of the server, tried on the past, saved, in conflict',
    async () => {
      await visit(page, '#/rules');
      await page.getByRole('button', { name: USER, exact: true }).click();
      await page.getByRole('link', { name: 'New rule' }).click();
      const editor = page.getByRole('article', { name: 'Rule' });
      await editor.getByLabel('Key').fill('temperature');
      await editor.getByRole('textbox', { name: 'Threshold' }).fill('85');
      await editor.getByText(/^2 alerts on 5 devices/).waitFor();
      await editor.getByRole('img', { name: /that there would have been/ }).waitFor();
      await editor.getByRole('textbox', { name: 'Threshold' }).fill('94');
      await editor.getByText(/^1 alert on 5 devices/).waitFor();
      await picture(page, 'rule');
      await editor.getByLabel('Held for').fill('soon');
      await editor
        .getByRole('alert')
        .filter({ hasText: /duration/i })
        .waitFor();
      await editor.getByLabel('Held for').fill('');
      await editor
        .getByLabel(/^JSON/)
        .fill('{ "key": "battery", "operator": "LT", "threshold": 20, "message": "low" }');
      expect(await editor.getByLabel('Key').inputValue()).toBe('battery');
      await editor.getByRole('button', { name: 'Create rule' }).click();
      await page.getByRole('link', { name: 'battery < 20' }).click();
      await page.getByText('Version 2', { exact: true }).waitFor();

      await editor.getByRole('textbox', { name: 'Threshold' }).fill('25');
      await query(
        app.graphqlUrl,
        `mutation { upsertRule(userId: "${USER}", rule: { ruleId: "battery-lt", key: "battery",
        operator: LT, threshold: 30, message: "theirs" }) { version } }`,
      );
      await editor.getByRole('button', { name: 'Save' }).click();
      await editor.getByText('The rules were changed while you wrote').waitFor();
      await editor.getByText('"theirs"').waitFor();
      await editor.getByRole('button', { name: 'Save mine over it' }).click();
      await page.getByRole('link', { name: 'battery < 25' }).waitFor();
      await page.getByText('Version 4', { exact: true }).waitFor();
      await page.getByText('battery-lt changed').first().waitFor();
    },
    LONG,
  );

  test(
    'dead letters: the reason, the bytes, and back into the log',
    async () => {
      await client.publishAsync(telemetryTopic(USER, 'pump_1'), 'not a reading', { qos: 1 });
      await visit(page, '#/dead-letters');
      await page.getByText('not JSON', { exact: false }).waitFor();
      await page.getByText('Payload', { exact: false }).click();
      await page.getByText('not a reading').waitFor();
      await page.getByRole('button', { name: 'Replay', exact: true }).first().click();
      await page.getByText('1 of 1 are back in the log').waitFor();
      await page.getByRole('button', { name: /^BAD_JSON 2, 1 replayed/ }).waitFor();
    },
    LONG,
  );

  test(
    'a reading is published from the page and seen on its way',
    async () => {
      await visit(page, '#/try');
      await page.getByLabel('temperature').fill('hot');
      await page.getByRole('button', { name: 'Publish' }).click();
      await page.getByRole('alert').filter({ hasText: 'temperature' }).waitFor();
      await page.getByLabel('temperature').fill('91.5');
      await page.getByRole('button', { name: 'Publish' }).click();
      await page.locator('.stage.done', { hasText: 'In the log' }).waitFor();
      await page.locator('.stage.done', { hasText: 'Stored in the database' }).waitFor();
      await page.locator('.stage.done', { hasText: 'Temperature 91.5 is above 80' }).waitFor();
      await picture(page, 'try');
    },
    LONG,
  );

  test.each(['light', 'dark'] as const)(
    'axe finds nothing in any view: %s',
    async (theme) => {
      await page.getByRole('combobox', { name: 'Theme' }).selectOption(theme);
      const views = [
        '',
        `devices/${USER}/boiler`,
        'alerts',
        'rules/battery-lt',
        'dead-letters',
        'try',
        'devices/nobody/nothing',
        'no/such/address',
      ];
      for (const view of views) {
        await visit(page, `#/${view}`);
        await page.locator('main :is(table, canvas, form, .letters, .empty)').first().waitFor();
        expect({ view, violations: await violations(page) }).toEqual({ view, violations: [] });
      }
      await visit(page, '#/alerts');
      await page.getByRole('combobox', { name: 'State' }).selectOption('all');
      await page.locator('table.virtual a').first().click();
      await page.getByRole('article', { name: 'Alert' }).getByText('Evidence').waitFor();
      expect(await violations(page)).toEqual([]);
      await picture(page, `alerts-${theme}`);
    },
    LONG,
  );

  test(
    'on a phone nothing is wider than the screen',
    async () => {
      await send(LONG_NAME, { temperature: 60, huge: 1e300 });
      await stored();
      await page.setViewportSize({ width: 390, height: 844 });
      for (const view of [
        '',
        `devices/${USER}/${LONG_NAME}`,
        `devices/${USER}/boiler`,
        'alerts',
        'rules/battery-lt',
        'dead-letters',
        'try',
      ]) {
        await visit(page, `#/${view}`);
        await page.locator('main :is(table, canvas, form, .letters)').first().waitFor();
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        expect({ view, width }).toEqual({ view, width: 390 });
      }
      await page.setViewportSize({ width: 1280, height: 860 });
    },
    LONG,
  );

  test(
    'by keyboard alone: past the menu, and into a device',
    async () => {
      await visit(page, '#/');
      await page.getByRole('link', { name: 'boiler' }).waitFor();
      await page.reload();
      await page.getByRole('link', { name: 'boiler' }).waitFor();
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      expect(await page.evaluate(() => document.activeElement?.id)).toBe('main');
      for (let presses = 0; presses < 30; presses++) {
        await page.keyboard.press('Tab');
        const text = await page.evaluate(() => document.activeElement?.textContent);
        if (text?.startsWith('boiler')) break;
      }
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: 'boiler' }).waitFor();
    },
    LONG,
  );

  test('nothing was refused by the policy, nothing asked elsewhere', () => {
    expect(watched.faults).toEqual([]);
    expect(watched.elsewhere).toEqual([]);
  });
});

/** The variables of the next request for a chart. */
async function telemetryRequest(page: Page) {
  const request = await page.waitForRequest((each) =>
    (each.postData() ?? '').includes('query Telemetry('),
  );
  return request.postDataJSON().variables as { from: string; to: string; timezone: string };
}

/** How often the line of the first chart is interrupted: stretches without its colour. */
async function breaks(page: Page): Promise<number> {
  return await page.evaluate(() => {
    const canvas = document.querySelector('.chart canvas') as HTMLCanvasElement;
    const { width, height } = canvas;
    const pixels = canvas.getContext('2d')?.getImageData(0, 0, width, height).data ?? [];
    const hasLine = (x: number) => {
      for (let y = 0; y < height; y++) {
        const at = (y * width + x) * 4;
        const [red, , blue, alpha] = [pixels[at], pixels[at + 1], pixels[at + 2], pixels[at + 3]];
        if ((alpha ?? 0) > 200 && (blue ?? 0) - (red ?? 0) > 120) return true;
      }
      return false;
    };
    const columns = Array.from({ length: width }, (_, x) => hasLine(x));
    const [first, last] = [columns.indexOf(true), columns.lastIndexOf(true)];
    const inside = columns.slice(first, last + 1);
    return inside.filter((has, x) => !has && inside[x - 1]).length;
  });
}
