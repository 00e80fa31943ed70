import { eventually } from '../tests/support/process.ts';
import { cpuSecondsOf, residentMiB } from './cpu.ts';
import { connectLoad } from './mqtt-load.ts';
import { createReadings, userIds } from './readings.ts';
import { type Around, percentile, type Row, type Suite } from './suite.ts';
import { startPlain, startPulsegraph, type Target } from './targets.ts';

interface Case {
  subscribers: number;
  /** Alert transitions a second, over all users. */
  rate: number;
}

/** Each reading crosses the threshold: one transition each. */
const FLEET = { users: 30, devices: 30, crossing: 30 };
const SECONDS = 30;
const DRAIN_MS = 20_000;
const CONNECTIONS = 4;

const CASES: Record<string, Case> = {
  '1,000 subscribers, 100 transitions/s': { subscribers: 1_000, rate: 100 },
  '1,000 subscribers, 1,000 transitions/s': { subscribers: 1_000, rate: 1_000 },
};

export const fanoutSuite: Suite = {
  name: 'fanout',
  title: 'Alerts to 1,000 subscribers',
  about:
    `WebSockets of ${FLEET.users} users, to each of which every transition of its user goes: 33 ` +
    'deliveries for each. All are checked: none missed, none twice. Milliseconds from the publish ' +
    'of the reading to the message in the client (which shares the cores); CPU of the process that ' +
    'serves by delivery, what it takes to store and judge the readings included. Plain: the same ' +
    "broker, one comparison, and Bun's own WebSocket topics, with one text for all.",
  columns: [
    { key: 'delivered', title: 'deliveries' },
    { key: 'missed', title: 'missed' },
    { key: 'doubled', title: 'twice' },
    { key: 'p50', title: 'p50', digits: 1 },
    { key: 'p99', title: 'p99', digits: 1 },
    { key: 'cpu', title: 'CPU, µs/delivery', digits: 1 },
    { key: 'rss', title: 'RSS, MiB' },
    { key: 'plainP50', title: 'plain: p50', digits: 1 },
    { key: 'plainP99', title: 'p99', digits: 1 },
    { key: 'plainCpu', title: 'CPU, µs/delivery', digits: 1 },
    { key: 'plainRss', title: 'RSS, MiB' },
  ],
  cases: Object.keys(CASES),
  measure,
};

async function* measure(cases: readonly string[], { quick }: Around): AsyncGenerator<Row, void> {
  for (const name of cases) {
    const one = CASES[name] as Case;
    const seconds = quick ? 3 : SECONDS;
    const plain = await run(await startPlain('alerts'), one, seconds);
    const ours = await run(await startPulsegraph(FLEET), one, seconds);
    const { p50: plainP50, p99: plainP99, cpu: plainCpu, rss: plainRss } = plain;
    yield { name, ...ours, plainP50, plainP99, plainCpu, plainRss };
  }
}

/** Removes the target. */
async function run(target: Target, { subscribers, rate }: Case, seconds: number) {
  const { message, transitions } = createReadings(FLEET);
  const count = rate * seconds;
  const indexes = transitions(count);
  const users = userIds(FLEET);
  const arrivals: { index: number; at: number }[] = [];
  let doubled = 0;
  try {
    const sockets = [];
    for (let n = 0; n < subscribers; n++) {
      const seen = new Uint8Array(count);
      const watching = target.watch(users[n % users.length] as string, (key) => {
        const index = indexes.get(key) ?? -1;
        if (seen[index] === 1) doubled++;
        else arrivals.push({ index, at: performance.now() });
        seen[index] = 1;
      });
      sockets.push(await watching);
    }
    // A device has a user, and a user `subscribers / users` sockets, some one more.
    const subscribersOf = (user: number) => Math.ceil((subscribers - user) / users.length);
    const expected = [...indexes.values()].reduce(
      (sum, index) => sum + subscribersOf(index % FLEET.devices),
      0,
    );
    const load = await connectLoad(target.mqttUrl, CONNECTIONS);
    let rss = 0;
    const sampling = setInterval(() => {
      rss = Math.max(rss, residentMiB(target.pid));
    }, 250);
    const before = cpuSecondsOf(target.pid);
    const { sentAt } = await load.publish({ rate, count, message });
    const all = () => arrivals.length >= expected;
    // What is missing then is a figure of the row.
    await eventually('deliveries', all, DRAIN_MS).catch(() => {});
    clearInterval(sampling);
    const cpu = ((cpuSecondsOf(target.pid) - before) * 1e6) / Math.max(1, arrivals.length);
    for (const one of [...sockets, load]) one.close();
    const times = arrivals.map(({ index, at }) => at - (sentAt[index] ?? Number.NaN));
    return {
      delivered: arrivals.length,
      missed: expected - arrivals.length,
      doubled,
      p50: percentile(times, 0.5),
      p99: percentile(times, 0.99),
      cpu,
      rss,
    };
  } finally {
    await target.remove();
  }
}
