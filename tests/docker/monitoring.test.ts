import { describe, expect, test } from 'bun:test';
import { exampleEnv, readCompose, readText } from './stack.ts';

const { services } = await readCompose(exampleEnv());

interface AlertRule {
  alert: string;
  expr: string;
  labels: { severity: string };
  annotations: { summary: string; description: string };
}
interface Panel {
  id: number;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets: { expr: string }[];
}

const rules = (
  Bun.YAML.parse(await readText('docker/prometheus-alerts.yml')) as {
    groups: { rules: AlertRule[] }[];
  }
).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(await readText('docker/grafana/pulsegraph.json')) as {
  panels: Panel[];
};

/** The metrics of docs/operations.md, and what a histogram makes of its own. */
async function metricNames(): Promise<Set<string>> {
  const text = await readText('docs/operations.md');
  const named = [...text.matchAll(/`((?:pulsegraph|process)_[a-z_]+)`/g)].map(([, name]) => name);
  return new Set(['up', ...named.flatMap((name) => [`${name}`, `${name}_bucket`])]);
}

const expressions = [
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }) => [title, expr] as const),
  ),
];

const known = await metricNames();

describe('monitoring', () => {
  test.each(expressions)('%s asks for metrics that there are: %s', (_, expr) => {
    const asked = expr.match(/\b(?:pulsegraph|process)_[a-z_]+|\bup\b/g) ?? [];
    expect(asked.length).toBeGreaterThan(0);
    expect(asked.filter((name) => !known.has(name))).toEqual([]);
  });

  test.each(expressions)('%s has all its brackets: %s', (_, expr) => {
    for (const [open, close] of ['()', '[]', '{}']) {
      expect(expr.split(open as string).length).toBe(expr.split(close as string).length);
    }
  });

  test('each alert says how bad it is and what to do', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const { labels, annotations } of rules) {
      expect(['warning', 'critical']).toContain(labels.severity);
      expect(annotations.summary.length * annotations.description.length).toBeGreaterThan(0);
    }
  });

  test('no two panels share an id or a place', () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)}/${y + Math.floor(at / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });

  test('Prometheus scrapes the container, and reads the rules where they are mounted', async () => {
    const config = Bun.YAML.parse(await readText('docker/prometheus.yml')) as {
      rule_files: string[];
      scrape_configs: { job_name: string; dns_sd_configs: { names: string[]; port: number }[] }[];
    };
    const [scrape] = config.scrape_configs;
    const [found] = scrape?.dns_sd_configs ?? [];
    expect(found?.names.every((name) => name in services)).toBeTrue();
    expect(`${found?.port}`).toBe(services.pulsegraph?.environment?.PORT as string);
    const jobs = expressions.flatMap(([, expr]) => expr.match(/job="[^"]+"/g) ?? []);
    expect(new Set(jobs)).toEqual(new Set([`job="${scrape?.job_name}"`]));
    const mounted = services.prometheus?.volumes?.map((volume) => volume.split(':')[1]);
    for (const file of config.rule_files) expect(mounted).toContain(file);
  });

  test('Grafana finds Prometheus and the dashboard', async () => {
    const source = await readText('docker/grafana/datasource.yml');
    expect(source).toContain('http://prometheus:9090');
    const mounts = services.grafana?.volumes?.map((volume) => volume.split(':')[1] ?? '') ?? [];
    const home = services.grafana?.environment?.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH ?? '';
    expect(mounts).toContain(home);
    const { providers } = Bun.YAML.parse(await readText('docker/grafana/dashboards.yml')) as {
      providers: { options: { path: string } }[];
    };
    expect(home).toStartWith(`${providers[0]?.options.path}/`);
  });

  test('both are a profile of the stack', () => {
    expect(services.prometheus?.profiles).toEqual(['monitoring']);
    expect(services.grafana?.profiles).toEqual(['monitoring']);
  });
});
