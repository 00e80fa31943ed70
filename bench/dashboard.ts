import type { MqttClient } from 'mqtt';
import type { Browser } from 'playwright-core';
import { startTestApp, type TestApp } from '../tests/support/app.ts';
import { connectClient, query, telemetryTopic } from '../tests/support/app-clients.ts';
import { eventually } from '../tests/support/process.ts';
import { launchChromium } from '../tests/web/browser.ts';
import { openBare, openDashboard } from './dashboard-pages.ts';
import { type RendererWork, traceRenderer } from './renderer-trace.ts';
import { type Around, percentile, type Row, type Suite } from './suite.ts';

interface Case {
  /** The view; null is the bare page. */
  hash: string | null;
  /** Whether all the other devices have an alert before the burst. */
  isFull?: boolean;
}

const CASES: Record<string, Case> = {
  'overview of 5,000 devices': { hash: '#/' },
  'list of alerts': { hash: '#/alerts' },
  'list of alerts that holds 4,000': { hash: '#/alerts', isFull: true },
};
const USER = 'fleet';
const BURST = 1_000;
/** In a round: one has some twenty frames. */
const BURSTS = 5;
const STUTTER_MS = 50;
const DEVICES = 5_000;
const [HOT, COOL] = [95, 20];
const DEADLINE_MS = 120_000;

export const dashboardSuite: Suite = {
  name: 'dashboard',
  title: 'The dashboard: 5,000 devices, 1,000 alerts in a burst',
  about:
    'Headless Chromium without a GPU, and alerts as fast as they come, on the cores of the server, ' +
    "PostgreSQL and the devices. CPU of the thread that runs the page, by that thread's clock in " +
    "Chromium's trace, drawing included: of the longest task, of all that is done in one frame, " +
    "and by alert. Gaps are from frame to frame by the wall's clock: what takes 50 ms is seen as " +
    'a stutter. Plain: a page with nothing on it that parses the same events and counts them; its ' +
    'gaps are what the machine itself makes of a burst.',
  columns: [
    { key: 'task', title: 'longest task, CPU ms', digits: 1 },
    { key: 'p99', title: 'frame p99, CPU ms', digits: 1 },
    { key: 'longest', title: 'longest frame, CPU ms', digits: 1 },
    { key: 'each', title: 'CPU, µs/alert' },
    { key: 'frames', title: 'frames' },
    { key: 'gapP99', title: 'gap p99, ms', digits: 1 },
    { key: 'gap', title: 'longest gap, ms', digits: 1 },
    { key: 'over', title: 'gaps over 50 ms' },
    { key: 'plainEach', title: 'plain: CPU, µs/alert' },
    { key: 'plainGapP99', title: 'gap p99, ms', digits: 1 },
    { key: 'plainGap', title: 'longest gap, ms', digits: 1 },
    { key: 'plainOver', title: 'gaps over 50 ms' },
  ],
  cases: Object.keys(CASES),
  measure,
};

async function* measure(
  cases: readonly string[],
  { quick, rounds }: Around,
): AsyncGenerator<Row, void> {
  const app = await startTestApp();
  const [browser, client] = await Promise.all([launchChromium(), connectClient(app.mqttUrl)]);
  try {
    const fleet = createFleet(app, client, quick ? DEVICES / 2 : DEVICES);
    await fleet.send(0, fleet.devices, COOL);
    const rule = `mutation { setRules(userId: "${USER}", temperatureMax: 80) { version } }`;
    await query(app.graphqlUrl, rule);
    for (const name of cases) {
      const one = CASES[name] as Case;
      const run = (each: Case) => bursts({ app, browser, fleet }, each, rounds);
      const plain = figuresOf(await run({ ...one, hash: null }));
      yield {
        name,
        ...figuresOf(await run(one)),
        ...{ plainEach: plain.each, plainGapP99: plain.gapP99 },
        ...{ plainGap: plain.gap, plainOver: plain.over },
      };
    }
  } finally {
    await client.endAsync(true);
    await browser.close();
    await app.stop();
    await app.remove();
  }
}

interface Fleet {
  devices: number;
  /** A reading of each device from one to before another; resolves when they are acknowledged. */
  publish(from: number, to: number, temperature: number): Promise<void>;
  /** The same; resolves when they are stored. */
  send(from: number, to: number, temperature: number): Promise<void>;
}

function createFleet(app: TestApp, client: MqttClient, devices: number): Fleet {
  let sequence = 0;
  const publishOne = (device: number, temperature: number) => {
    const payload = JSON.stringify({ time: Date.now(), sequence_id: sequence++, temperature });
    return client.publishAsync(telemetryTopic(USER, `unit_${device}`), payload, { qos: 1 });
  };
  async function publish(from: number, to: number, temperature: number): Promise<void> {
    const wanted = Array.from({ length: to - from }, (_, at) => from + at);
    await Promise.all(wanted.map((device) => publishOne(device, temperature)));
  }
  return {
    devices,
    publish,
    async send(from, to, temperature) {
      await publish(from, to, temperature);
      const lag = async () => (await query(app.graphqlUrl, '{ ingest { lag } }')).ingest.lag;
      await eventually('all is stored', async () => (await lag()) === 0, DEADLINE_MS);
    },
  };
}

interface Setting {
  app: TestApp;
  browser: Browser;
  fleet: Fleet;
}

/** One after the other on one page: all fire, and are traced; all are resolved. */
async function bursts(
  { app, browser, fleet }: Setting,
  { hash, isFull }: Case,
  rounds: number,
): Promise<RendererWork[]> {
  const before = isFull ? fleet.devices - BURST : 0;
  await fleet.send(BURST, BURST + before, HOT);
  const { page, seen } =
    hash === null
      ? await openBare(browser, app.graphqlUrl, before)
      : await openDashboard(browser, app.graphqlUrl, hash);
  await seen(before);
  await page.settled();
  await page.run(askForFrames, null);
  const works: RendererWork[] = [];
  for (let burst = 0; burst < rounds * BURSTS; burst++) {
    // Nobody asks the server meanwhile how far it is.
    const fire = async () => {
      await fleet.publish(0, BURST, HOT);
      await seen(before + BURST);
    };
    works.push(await traceRenderer(browser, fire));
    await fleet.send(0, BURST, COOL);
    await seen(before);
  }
  await page.close();
  await fleet.send(BURST, BURST + before, COOL);
  return works;
}

/** Runs in the page. */
function askForFrames(): void {
  requestAnimationFrame(askForFrames);
}

function figuresOf(works: readonly RendererWork[]) {
  const all = (name: keyof RendererWork) => works.flatMap((work) => work[name]);
  const [tasks, frames, gaps] = [all('tasks'), all('frames'), all('gaps')];
  const total = tasks.reduce((sum, task) => sum + task, 0);
  return {
    task: Math.max(...tasks),
    p99: percentile(frames, 0.99),
    longest: Math.max(...frames),
    each: (total * 1_000) / (BURST * works.length),
    frames: frames.length,
    gapP99: percentile(gaps, 0.99),
    gap: Math.max(...gaps),
    over: gaps.filter((gap) => gap > STUTTER_MS).length,
  };
}
