import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { startTestApp, type TestApp } from '../support/app.ts';
import { connectClient, query, telemetryTopic } from '../support/app-clients.ts';
import { eventually } from '../support/process.ts';
import { noPrometheus, type Prometheus, promtool, startPrometheus } from '../support/prometheus.ts';
import { readText } from './stack.ts';

const ROOT = join(import.meta.dir, '..', '..');
const RULES = join(ROOT, 'docker', 'prometheus-alerts.yml');
const LONG = 120_000;

interface Config {
  rule_files: string[];
  scrape_configs: object[];
}
const config = Bun.YAML.parse(await readText('docker/prometheus.yml')) as Config;
const { panels } = JSON.parse(await readText('docker/grafana/pulsegraph.json')) as {
  panels: { title: string; targets: { expr: string }[] }[];
};
const expressions = panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }) => [title, expr] as const),
);
/** Nothing of it runs here: with an embedded broker there is no bridge. */
const isBridge = (expr: string) => expr.includes('pulsegraph_bridge_');

describe.skipIf(noPrometheus)('by the real Prometheus', () => {
  let app: TestApp;
  let prometheus: Prometheus;

  beforeAll(async () => {
    if (noPrometheus) return;
    app = await startTestApp();
    const { host } = new URL(app.graphqlUrl);
    prometheus = await startPrometheus({
      ...config,
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: [RULES],
      scrape_configs: [{ job_name: 'pulsegraph', static_configs: [{ targets: [host] }] }],
    });
  }, LONG);
  afterAll(async () => {
    await prometheus?.remove();
    await app?.stop();
    await app?.remove();
  }, LONG);

  test('its configuration and rules are accepted', async () => {
    expect(await promtool('check', 'rules', '--lint-fatal', RULES)).toContain('SUCCESS');
    const file = join(ROOT, 'docker', 'prometheus.yml');
    expect(await promtool('check', 'config', '--syntax-only', file)).toContain('SUCCESS');
  });

  test('each rule fires when it should, and only then', async () => {
    const story = join(import.meta.dir, 'prometheus-alerts.story.yml');
    expect(await promtool('test', 'rules', story)).toContain('SUCCESS');
  });

  test(
    'each panel of Grafana has data while messages, alerts and dead letters come',
    async () => {
      await query(
        app.graphqlUrl,
        'mutation { setRules(userId: "ada", temperatureMax: 80) { version } }',
      );
      const client = await connectClient(app.mqttUrl);
      const before = 'pulsegraph_dead_letters_total == 0';
      await eventually(
        'a scrape',
        async () => (await prometheus.query(before)).length > 0,
        LONG / 2,
      );
      await client.publishAsync(telemetryTopic('ada', 'pump'), 'no reading', { qos: 1 });
      let sequence = 0;
      const send = async () => {
        const fields = {
          time: Date.now(),
          sequence_id: sequence,
          temperature: sequence % 2 ? 90 : 60,
        };
        sequence++;
        const topic = telemetryTopic('ada', 'pump');
        await client.publishAsync(topic, JSON.stringify(fields), { qos: 1 });
      };
      const empty = async () => {
        await send();
        const found = await Promise.all(expressions.map(([, expr]) => prometheus.query(expr)));
        return expressions.filter((_, at) => !found[at]?.some(({ value }) => !Number.isNaN(value)));
      };
      let left: unknown[] = [];
      await eventually(
        'data everywhere',
        async () => {
          left = (await empty()).filter(([, expr]) => !isBridge(expr));
          return left.length === 0;
        },
        60_000,
      ).catch((error) => {
        throw new Error(`${error.message}: ${JSON.stringify(left)}`);
      });
      const rate = await prometheus.query('sum by (type) (pulsegraph_alert_transitions_total)');
      expect(rate.map(({ metric }) => metric.type).sort()).toEqual(['FIRED', 'RESOLVED']);
      await client.endAsync(true);
    },
    LONG,
  );

  test(
    'all rules are evaluated, and the one for dead letters alone fires, from the first on',
    async () => {
      const rules = () => prometheus.rules();
      await eventually(
        'it fires',
        async () => (await rules()).some(({ state }) => state === 'firing'),
        LONG / 2,
      );
      expect((await rules()).filter(({ health }) => health !== 'ok')).toEqual([]);
      const firing = (await rules()).filter(({ state }) => state === 'firing');
      expect(firing.map(({ name }) => name)).toEqual(['PulsegraphDeadLetters']);
    },
    LONG,
  );
});
