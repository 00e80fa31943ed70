import { expect, test } from 'bun:test';
import { SignJWT } from 'jose';
import { chromium } from 'playwright-core';
import { createAuthenticate } from '../../src/schema/authenticate.ts';
import { commitEvent, seedAlert, seedDevices, stage } from './support.ts';

const BROWSER = Bun.which('chromium') ?? Bun.which('google-chrome');

test.skipIf(BROWSER === null)(
  'GraphiQL works without a network: a query, and a subscription that shows an alert',
  async () => {
    const on = await stage();
    const browser = await chromium.launch({
      executablePath: BROWSER as string,
      args: ['--no-sandbox', '--disable-gpu'],
    });
    try {
      await seedDevices(on.sql, [{ userId: 'user_123', deviceId: 'machine_1' }]);
      await seedAlert(on.sql, { id: 'a', userId: 'user_123', deviceId: 'machine_1' });
      const page = await browser.newPage();
      const elsewhere: string[] = [];
      const failures: string[] = [];
      page.on('request', (sent) => {
        const url = sent.url();
        if (!url.startsWith(on.server.url) && !/^(data|blob):/.test(url)) elsewhere.push(url);
      });
      page.on('pageerror', (error) => failures.push(error.message));
      await page.goto(`${on.server.url}/graphql`);
      const run = async (operation: string) => {
        await page.click('.graphiql-execute-button');
        await page.getByRole('menuitem', { name: operation }).click();
      };
      const result = async (text: string) =>
        await page.waitForFunction(
          (wanted) => document.querySelector('.result-window')?.textContent?.includes(wanted),
          text,
        );
      await run('Devices');
      await result('machine_1');
      await run('AlertEvents');
      const shown = result('"FIRED"');
      let isShown = false;
      void shown.then(() => {
        isShown = true;
      });
      // One after the other, until the subscription stands.
      for (let n = 0; !isShown && n < 300; n++) {
        await commitEvent(on.sql, { id: `e${n}`, alertId: 'a', userId: 'user_123' });
        await Bun.sleep(50);
      }
      await shown;
      expect(elsewhere).toEqual([]);
      expect(failures).toEqual([]);
    } finally {
      await browser.close();
      await on.close();
    }
  },
  90_000,
);

test.skipIf(BROWSER === null)(
  'with tokens, the one under Headers goes with queries and subscriptions',
  async () => {
    const secret = 'x'.repeat(32);
    const on = await stage({ authenticate: createAuthenticate({ keys: { secret } }) });
    const jwt = await new SignJWT({ role: 'operator' })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(new TextEncoder().encode(secret));
    const browser = await chromium.launch({
      executablePath: BROWSER as string,
      args: ['--no-sandbox', '--disable-gpu'],
    });
    try {
      await seedAlert(on.sql, { id: 'a' });
      const page = await browser.newPage();
      await page.goto(`${on.server.url}/graphql`);
      const run = async (operation: string) => {
        await page.click('.graphiql-execute-button');
        await page.getByRole('menuitem', { name: operation }).click();
      };
      const result = (text: string) =>
        page.waitForFunction(
          (wanted) => document.querySelector('.result-window')?.textContent?.includes(wanted),
          text,
        );
      await run('Devices');
      await result('UNAUTHENTICATED');
      await page.getByRole('button', { name: 'Headers' }).click();
      await page.locator('.graphiql-editor-tool .graphiql-editor:not(.hidden)').last().click();
      await page.keyboard.insertText(JSON.stringify({ Authorization: `Bearer ${jwt}` }));
      await run('Devices');
      await result('"nodes"');
      await run('AlertEvents');
      const shown = result('"FIRED"');
      let isShown = false;
      void shown.then(() => {
        isShown = true;
      });
      for (let n = 0; !isShown && n < 300; n++) {
        await commitEvent(on.sql, { id: `e${n}`, alertId: 'a' });
        await Bun.sleep(50);
      }
      await shown;
    } finally {
      await browser.close();
      await on.close();
    }
  },
  90_000,
);
