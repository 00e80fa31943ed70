import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { Browser, Page } from 'playwright-core';
import { startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, query, telemetryTopic } from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';
import { canRun, launchChromium, picture } from './browser.ts';

const DAYS = 80;
const DAY_MS = 86_400_000;
const FIRST_DAY = Date.UTC(2013, 11, 2);

let app: TestApp;
let browser: Browser | undefined;
beforeAll(async () => {
  if (!canRun) return;
  app = await startTestApp();
  browser = await launchChromium();
}, 60_000);
afterAll(async () => {
  await browser?.close();
  await app?.remove();
}, 30_000);

test.skipIf(!canRun)(
  'GraphiQL, with nothing from elsewhere: 80 daily buckets, and an alert as it fires',
  async () => {
    const client = await connectClient(app.mqttUrl);
    const publish = (fields: object) =>
      client.publishAsync(telemetryTopic('user_123', 'machine_1'), JSON.stringify(fields), {
        qos: 1,
      });
    // Noon of each day, in the timezone of the example as in UTC.
    const noon = (day: number) => FIRST_DAY + day * DAY_MS + DAY_MS / 2;
    for (let day = 0; day < DAYS; day++) {
      await publish({ time: noon(day), sequence_id: day, temperature: 50 + (day % 30) });
    }
    await query(
      app.graphqlUrl,
      'mutation { setRules(userId: "user_123", temperatureMax: 80) { version } }',
    );
    await eventually('the readings are stored', async () => {
      const { ingest } = await query(app.graphqlUrl, '{ ingest { lag } }');
      return ingest.lag === 0;
    });

    const page = await (browser as Browser).newPage({ viewport: { width: 1500, height: 900 } });
    const own = new URL(app.graphqlUrl).origin;
    const elsewhere: string[] = [];
    const faults: string[] = [];
    const note = (url: string) => {
      if (
        !url.startsWith(own) &&
        !url.startsWith(own.replace('http', 'ws')) &&
        !/^(data|blob):/.test(url)
      ) {
        elsewhere.push(url);
      }
    };
    page.on('request', (request) => note(request.url()));
    page.on('websocket', (socket) => note(socket.url()));
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('console', (line) => {
      if (line.type() === 'error') faults.push(line.text());
    });
    await page.goto(app.graphqlUrl);

    // The page itself asks for the schema.
    const answered = page.waitForResponse((response) =>
      (response.request().postData() ?? '').includes('"operationName":"Telemetry"'),
    );
    await run(page, 'Telemetry');
    const { data } = await (await answered).json();
    const [series] = data.user.telemetry;
    expect(series).toMatchObject({ deviceId: 'machine_1', key: 'temperature', bucket: 'P1D' });
    expect(series.points).toHaveLength(DAYS);
    expect(series.points[1]).toMatchObject({ count: 1, avg: 51 });
    await shown(page, 'machine_1');
    await picture(page, 'graphiql-telemetry');

    const subscribed = page
      .waitForEvent('websocket')
      .then((socket) =>
        socket.waitForEvent('framesent', (frame) => String(frame.payload).includes('"subscribe"')),
      );
    await run(page, 'AlertEvents');
    await subscribed;
    await publish({ time: noon(DAYS), sequence_id: DAYS, temperature: 95.5 });
    await shown(page, '95.5');
    await shown(page, 'FIRED');
    await picture(page, 'graphiql-alert');

    expect(elsewhere).toEqual([]);
    expect(faults).toEqual([]);
    await client.endAsync(true);
  },
  90_000,
);

/** Chooses one of the example operations behind the execute button. */
async function run(page: Page, operation: string): Promise<void> {
  await page.click('.graphiql-execute-button');
  await page.getByRole('menuitem', { name: operation }).click();
}

async function shown(page: Page, text: string): Promise<void> {
  await page.waitForFunction(
    (wanted) => document.querySelector('.result-window')?.textContent?.includes(wanted),
    text,
  );
}
