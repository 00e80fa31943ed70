import { describe, expect, test } from 'bun:test';
import type { Signal } from '../../src/loadtest/signals.ts';
import { MODELS, modelStage } from '../support/model-stage.ts';
import { eventually } from '../support/process.ts';
import { canRun, launchChromium, openPage, violations, visit } from './browser.ts';

describe.skipIf(!canRun)('the dashboard of a model', () => {
  for (const of of MODELS) {
    test(`${of.file}: its devices, their chart and their alerts`, async () => {
      const on = await modelStage(of);
      const browser = await launchChromium();
      try {
        const signal = on.simulation.signals[0] as Signal;
        const { key, operator, threshold } = signal;
        const rule = { id: 'seen', key, operator, threshold, message: 'Seen on {device_id}' };
        const config = JSON.stringify({ rules: [rule] });
        await on.client.publishAsync(`users/${on.user}/config`, config, { qos: 1 });
        await eventually('the rule is in force', () =>
          on.heard.some(({ json }) => json?.etag && json.rules[0]?.id === 'seen'),
        );
        const now = Date.now() * 1000;
        for (let at = 20; at > 0; at--) {
          const fields = at === 1 ? on.fields(signal) : on.fields();
          await on.send('seen_1', fields, now - at * 20_000_000);
        }
        await on.settled();
        const { page, faults, elsewhere } = await openPage(
          browser,
          new URL(on.app.graphqlUrl).origin,
        );
        await page.getByRole('link', { name: 'seen_1' }).first().waitFor();
        for (const [name, { type }] of Object.entries(on.model.columns)) {
          const title = `${name}${type === 'point' ? '_latitude' : ''}`.replaceAll('_', ' ');
          await page.getByRole('columnheader', { name: title }).waitFor();
        }
        await page.getByRole('link', { name: 'seen_1' }).first().click();
        const chart = page.getByRole('img', { name: new RegExp(`^${on.number} of seen_1`) });
        await chart.waitFor();
        await eventually('it says its values', async () =>
          /From .* to /.test((await chart.getAttribute('aria-label')) ?? ''),
        );
        expect(await violations(page)).toEqual([]);
        await visit(page, '#/alerts');
        await page.getByRole('link', { name: 'Seen on seen_1' }).click();
        await page.getByRole('article', { name: 'Alert' }).getByText('Evidence').waitFor();
        // What the form begins with is a reading that the model takes.
        await visit(page, '#/try');
        await page.getByRole('button', { name: on.user, exact: true }).click();
        await page.getByRole('button', { name: 'Publish' }).click();
        await page.getByRole('link', { name: 'See it in the chart of try_it' }).waitFor();
        expect(faults).toEqual([]);
        expect(elsewhere).toEqual([]);
      } finally {
        await browser.close();
        await on.remove();
      }
    }, 90_000);
  }
});
